-- A worker is dead: nothing that it says counts any more. ARGV: incarnation. Answers its leases.
local I = ARGV[1]
redis.call('SADD', key('fenced'), I)
redis.call('SADD', key('sweep'), I)
redis.call('HDEL', key('workers'), I)
redis.call('HDEL', key('W'), I)
return answer('ok', redis.call('SMEMBERS', key('L', I)))
