-- A person or a service wants it to end. ARGV: E, error, mode (rollback or stop), sends (1: what follows; else it is
-- due at once).
SENDS = ARGV[4] == '1'
local x = load(ARGV[1])
if not x then return answer('unknown') end
if x.state == 'pending' then
  redis.call('HSET', key('x', x.id), 'outcome', 'cancelled', 'error', ARGV[2])
  strike('ex:' .. x.id)
  conclude_later(x)
  return answer('ok')
end
-- one that had ended, and is taken back on request, was cancelled long ago
local again = redis.call('HEXISTS', key('x', x.id), 'request') == 1
if x.outcome == 'cancelled' and not x.ended and not again and (x.mode == '' or x.mode == ARGV[3]) then return answer('ok') end
if x.state ~= 'running' then return answer('refused', x.state) end
stop(x, ARGV[3], 'cancelled', ARGV[2])
return answer('ok')
