-- Messages of these actions are published again: start their clocks anew. ARGV: term, E, G, A, ... Answers those still
-- claimable.
if deposed(ARGV[1]) then return answer('deposed') end
local x = load(ARGV[2])
local G = tonumber(ARGV[3])
local still = {}
if x and is_open(x, G) then
  for i = 4, #ARGV do
    local name = key('a', x.id, G, ARGV[i])
    local status = redis.call('HGET', name, 'status')
    if (not status or status == 'ready') and redis.call('HEXISTS', key('rule', x.id, G), ARGV[i]) == 1 then
      redis.call('HSET', name, 'status', 'ready', 'since', NOW)
      still[#still + 1] = ARGV[i]
    end
  end
end
return answer('ok', still)
