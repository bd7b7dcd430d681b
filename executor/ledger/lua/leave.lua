-- A worker ends in order. ARGV: incarnation. One that still holds something is left to the watchdog.
if redis.call('SCARD', key('L', ARGV[1])) > 0 then return answer('busy') end
redis.call('SADD', key('sweep'), ARGV[1])
redis.call('HDEL', key('workers'), ARGV[1])
redis.call('HDEL', key('W'), ARGV[1])
return answer('ok')
