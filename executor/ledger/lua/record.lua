-- Write the undo record of an action before its effect; only the first one counts. ARGV: E, G, A, token, field, record.
local name = key('a', ARGV[1], ARGV[2], ARGV[3])
if ARGV[4] == '' or redis.call('HGET', name, 'token') ~= ARGV[4] then return answer('stale') end
redis.call('HSETNX', name, ARGV[5], ARGV[6])
-- from here on the fallback may have been done, whether its holder lives to tell or not
if ARGV[5] == 'undo_fallback' then redis.call('HSETNX', name, 'effect_fallback', 'unknown') end
return answer('ok')
