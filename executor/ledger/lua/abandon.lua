-- Nobody serves the device of an action that could run. ARGV: E, G, A, wait in ms, error.
-- Answers waiting (said once in an event), or failed when the wait is over.
local E, G, A = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local x = load(E)
local rule = x and is_open(x, G) and rule_of(E, G, A)
if not rule or rule.s ~= x.stage then return answer('noop') end
local name = key('a', E, G, A)
local v = redis.call('HMGET', name, 'status', 'unserved')
if v[1] and v[1] ~= 'ready' then return answer('noop') end
if not v[2] then
  redis.call('HSET', name, 'unserved', NOW)
  emit(E, action_event(G, 'waiting'), '"action":' .. q(A) .. ',"error":' .. ARGV[5])
  return answer('waiting')
end
if NOW - tonumber(v[2]) < tonumber(ARGV[4]) then return answer('waiting') end
finish(x, G, A, 'failed', '"error":' .. ARGV[5], nil)
fail(x, G, A, rule, ARGV[5])
drain(x)
return answer('failed')
