-- A finished execution is to be forgotten: from here on nobody can have it taken back. ARGV: E
local x = load(ARGV[1])
if not x then return answer('ok') end
if not x.ended then return answer('refused') end
redis.call('HSET', key('x', x.id), 'forgetting', 1)
return answer('ok')
