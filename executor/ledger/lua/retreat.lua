-- A worker is about to end in order, and takes nothing new: it is announced no more, so nothing is given to it. What it
-- runs it finishes, and renews until it leaves. ARGV: incarnation.
redis.call('HDEL', key('workers'), ARGV[1])
return answer('ok')
