-- needs the prelude of the fleet
-- A device is given nothing new. ARGV: device, by whom, why. Answers ok, already, or unknown.
local D = ARGV[1]
if redis.call('HEXISTS', key('owner'), D) == 0 and not announced(D) then return answer('unknown') end
if redis.call('HEXISTS', key('drained'), D) == 1 then return answer('already') end
redis.call('HSET', key('drained'), D, '{"by":' .. q(ARGV[2]) .. ',"reason":' .. q(ARGV[3]) .. ',"at_ms":' .. NOW .. '}')
tell('distributed:device:drained', '"device":' .. q(D) .. ',"by":' .. q(ARGV[2]) .. ',"reason":' .. q(ARGV[3]))
return answer('ok')
