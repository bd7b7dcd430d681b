-- needs the prelude of the fleet
-- A device is given work again, and what was parked for it goes out. ARGV: device, by whom. Answers ok with how many
-- messages that were, already, or unknown.
local D = ARGV[1]
if redis.call('HDEL', key('drained'), D) == 0 then
  return answer((redis.call('HEXISTS', key('owner'), D) == 1 or announced(D)) and 'already' or 'unknown', '0')
end
local waiting, sent = redis.call('SMEMBERS', key('drainpark', D)), 0
table.sort(waiting)
for _, member in ipairs(waiting) do
  local E, G, A = string.match(member, '^([^|]*)|(%d+)|(.*)$')
  if E and unpark(E, G, A) then
    sent = sent + 1
    if redis.call('HGET', key('a', E, G, A), 'status') == 'ready' then redis.call('HSET', key('a', E, G, A), 'since', NOW) end
  end
end
redis.call('DEL', key('drainpark', D))
tell('distributed:device:undrained', '"device":' .. q(D) .. ',"by":' .. q(ARGV[2]))
return answer('ok', tostring(sent))
