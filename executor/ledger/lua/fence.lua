-- A worker is dead: nothing that it says counts any more. ARGV: incarnation, cut (1: its connections were open until
-- now, so that it may still be at work although they are gone). Answers its leases.
-- After a day it is forgotten: its tokens were raised long ago, and no process comes back from there.
local I = ARGV[1]
redis.call('ZADD', key('fenced'), NOW, I)
redis.call('ZREMRANGEBYSCORE', key('fenced'), '-inf', NOW - 86400000)
redis.call('SADD', key('sweep'), I)
if ARGV[2] == '1' then redis.call('SADD', key('cut'), I) end
redis.call('HDEL', key('workers'), I)
redis.call('HDEL', key('W'), I)
return answer('ok', redis.call('SMEMBERS', key('L', I)))
