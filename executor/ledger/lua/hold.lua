-- A pending execution waits for a resource. ARGV: E, reason, delay in ms. Answers how long it has waited, in ms.
local E = ARGV[1]
local x = load(E)
if not x or x.state ~= 'pending' then return answer('noop', '0') end
if redis.call('HSETNX', key('x', E), 'held', NOW) == 1 then
  emit(E, 'execution:waiting', '"reason":' .. q(ARGV[2]))
end
redis.call('HSET', key('x', E), 'waiting_for', ARGV[2])
post('ex:' .. E, NOW + tonumber(ARGV[3]), task_entry('executor.execute_strategy', E, ''), false)
return answer('ok', tostring(NOW - tonumber(redis.call('HGET', key('x', E), 'held'))))
