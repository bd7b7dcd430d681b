-- Leases of living workers whose deadline passed long ago. ARGV: how long, in ms. Answers holder, lease, holder, lease,
-- ...
local found = {}
for _, I in ipairs(redis.call('HKEYS', key('W'))) do
  for _, held in ipairs(redis.call('SMEMBERS', key('L', I))) do
    local E, G, A = string.match(held, '^([^|]*)|(%d+)|(.*)$')
    local deadline = E and redis.call('HGET', key('a', E, G, A), 'deadline')
    if deadline and NOW - tonumber(deadline) > tonumber(ARGV[1]) then
      found[#found + 1] = I
      found[#found + 1] = held
    end
  end
end
return answer('ok', found)
