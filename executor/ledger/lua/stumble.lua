-- Making a plan raised what nobody foresaw; after so many times it is given up. Answers again, over or noop.
-- ARGV: E, state (pending, or rolling_back before its plan), error, remaining, how many times.
local E, state = ARGV[1], ARGV[2]
local x = load(E)
if not x or x.state ~= state or x.gen > 0 then return answer('noop') end
if redis.call('HINCRBY', key('x', E), 'stumbled_' .. state, 1) < tonumber(ARGV[5]) then return answer('again') end
if state == 'pending' then
  redis.call('HSET', key('x', E), 'outcome', 'failed', 'error', ARGV[3])
  strike('ex:' .. E)
else
  redis.call('HSET', key('x', E), 'unplanned', ARGV[3], 'remaining', ARGV[4])
  strike('rb:' .. E)
end
conclude_later(x)
return answer('over')
