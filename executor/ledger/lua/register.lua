-- A worker announces itself, before it consumes. ARGV: incarnation, description.
if redis.call('ZSCORE', key('fenced'), ARGV[1]) then return answer('fenced') end
redis.call('HSET', key('workers'), ARGV[1], ARGV[2])
redis.call('HSET', key('W'), ARGV[1], 0)
return answer('ok')
