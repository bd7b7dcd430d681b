-- Begin the rollback: a plan of the next generation. ARGV: E, G, plan, sizes, remaining, timeout in ms, then A, spec, rule, ...
local E, G = ARGV[1], tonumber(ARGV[2])
local x = load(E)
strike('rb:' .. E)
if not x or x.state ~= 'rolling_back' or x.gen ~= G then return answer('noop') end
x.gen = G + 1
local stages = #cjson.decode(ARGV[4])
redis.call('SET', key('plan', E, x.gen), ARGV[3])
redis.call('HSET', key('x', E), 'gen', x.gen, 'sizes' .. x.gen, ARGV[4], 'stages', stages, 'remaining', ARGV[5])
redis.call('DEL', key('slots', E), key('wait', E))
for i = 7, #ARGV, 3 do
  redis.call('HSET', key('spec', E, x.gen), ARGV[i], ARGV[i + 1])
  redis.call('HSET', key('rule', E, x.gen), ARGV[i], ARGV[i + 2])
end
x = load(E)
if stages == 0 then
  conclude_later(x)
else
  redis.call('ZADD', key('deadlines'), NOW + tonumber(ARGV[6]), E)
  open_stage(x, 0)
end
return answer('ok')
