-- Begin the rollback: a plan of the next generation.
-- ARGV: E, G, plan, sizes, remaining, timeout in ms, what was chosen, turn for which it was planned, format, then A,
-- spec, rule, ...
local E, G = ARGV[1], tonumber(ARGV[2])
local x = load(E)
if G ~= 0 then return answer('noop') end  -- one at a time
if x and ARGV[8] ~= '' and ARGV[8] ~= x.turn then return answer('noop') end
strike('rb:' .. E)
if not x or x.state ~= 'rolling_back' or x.gen ~= G then return answer('noop') end
x.gen = x.last + 1
local stages = #cjson.decode(ARGV[4])
redis.call('SET', key('plan', E, x.gen), ARGV[3])
redis.call('HSET', key('x', E), 'gen', x.gen, 'last', x.gen, 'sizes' .. x.gen, ARGV[4], 'stages', stages,
  'remaining', ARGV[5], 'rb_timeout', ARGV[6], 'chosen', ARGV[7], 'format', math.max(x.format, tonumber(ARGV[9])))
redis.call('HDEL', key('x', E), 'waiting_for', 'offer', 'rb_longer', 'rb_waits')
clear_places(E, 0)
for i = 10, #ARGV, 3 do
  redis.call('HSET', key('spec', E, x.gen), ARGV[i], ARGV[i + 1])
  redis.call('HSET', key('rule', E, x.gen), ARGV[i], ARGV[i + 2])
end
keep_fan_outs(E, x.gen, 10)
emit(E, 'rollback:planned', '"steps":' .. (#ARGV - 9) / 3 .. ',"chosen":' .. ARGV[7])
x = load(E)
if stages == 0 then
  conclude_later(x)
else
  redis.call('ZADD', key('deadlines'), NOW + tonumber(ARGV[6]), E)
  open_stage(x, 0)
end
return answer('ok')
