-- needs the prelude of the fleet
-- A worker is about to end in order, and takes nothing new: it is announced no more, so nothing is given to it. What it
-- runs it finishes, and renews until it leaves; so long it holds its devices. ARGV: incarnation.
local told = redis.call('HGET', key('workers'), ARGV[1])
if told then
  redis.call('HSET', key('leaving'), ARGV[1], told)
  redis.call('HDEL', key('workers'), ARGV[1])
  topology_changed({}, {})
end
return answer('ok')
