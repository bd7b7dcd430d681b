-- Write the plan of a pending execution and open its first stage.
-- ARGV: E, plan, sizes, limit, timeout in ms, rollback, max failures or '', inputs, context, format, devices as JSON
-- where there are several or '', then A, spec, rule, ...
local E = ARGV[1]
local x = load(E)
strike('ex:' .. E)
if not x then return answer('unknown') end
if x.state ~= 'pending' then return answer('exists') end
redis.call('SET', key('plan', E, 0), ARGV[2])
redis.call('HSET', key('x', E), 'state', 'running', 'sizes0', ARGV[3], 'stages', #cjson.decode(ARGV[3]), 'limit', ARGV[4],
  'started', NOW, 'rollback', ARGV[6], 'inputs', ARGV[8], 'context', ARGV[9],
  'format', math.max(x.format, tonumber(ARGV[10])))
redis.call('HDEL', key('x', E), 'waiting_for')
if ARGV[7] ~= '' then redis.call('HSET', key('x', E), 'max_failures', ARGV[7]) end
redis.call('ZADD', key('deadlines'), NOW + tonumber(ARGV[5]), E)
for i = 12, #ARGV, 3 do
  redis.call('HSET', key('spec', E, 0), ARGV[i], ARGV[i + 1])
  redis.call('HSET', key('rule', E, 0), ARGV[i], ARGV[i + 2])
end
keep_fan_outs(E, 0, 12)
x = load(E)
emit(E, 'execution:started', '"strategy":' .. q(redis.call('HGET', key('x', E), 'strategy')))
if ARGV[11] ~= '' then
  redis.call('HSET', key('x', E), 'spread', 1)
  emit(E, 'distributed:execution:started', '"devices":' .. ARGV[11])
end
if x.stages == 0 then conclude_later(x) else open_stage(x, 0) end
return answer('ok')
