-- A worker is dead: nothing that it says counts any more. ARGV: incarnation. Answers its leases.
-- After a day it is forgotten: its tokens were raised long ago, and no process comes back from there.
local I = ARGV[1]
redis.call('ZADD', key('fenced'), NOW, I)
redis.call('ZREMRANGEBYSCORE', key('fenced'), '-inf', NOW - 86400000)
redis.call('SADD', key('sweep'), I)
redis.call('HDEL', key('workers'), I)
redis.call('HDEL', key('W'), I)
return answer('ok', redis.call('SMEMBERS', key('L', I)))
