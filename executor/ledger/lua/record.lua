-- Write the undo record of an action before its effect; only the first one counts. ARGV: E, G, A, token, field, record.
local name = key('a', ARGV[1], ARGV[2], ARGV[3])
if ARGV[4] == '' or redis.call('HGET', name, 'token') ~= ARGV[4] then return answer('stale') end
redis.call('HSETNX', name, ARGV[5], ARGV[6])
return answer('ok')
