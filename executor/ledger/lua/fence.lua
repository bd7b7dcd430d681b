-- needs the prelude of the fleet
-- A worker is dead: nothing that it says counts any more. ARGV: term, incarnation. Answers its leases.
-- What is kept of it is when it was last heard. After a day it is forgotten: its tokens were raised long ago, and no
-- process comes back from there.
local I = ARGV[2]
if deposed(ARGV[1]) then return answer('deposed') end
redis.call('ZADD', key('fenced'), redis.call('ZSCORE', key('seen'), I) or NOW, I)
redis.call('ZREMRANGEBYSCORE', key('fenced'), '-inf', NOW - 86400000)
local host, left = remove_worker(I)
for _, D in ipairs(left) do
  tell('distributed:device:failed', '"device":' .. q(D) .. ',"error":' ..
    q('its last worker, ' .. I .. (host ~= '' and ' on ' .. host or '') .. ', died'))
end
return answer('ok', redis.call('SMEMBERS', key('L', I)))
