-- What is due in the outbox. ARGV: limit. Moved 2 s on, so that a sender that dies is replaced (one that is at it for
-- longer postpones it). A reached delay makes its action claimable: nothing else does. Answers the ms until the next
-- entry, or -1.
local ids = redis.call('ZRANGEBYSCORE', key('ob'), '-inf', NOW, 'LIMIT', 0, tonumber(ARGV[1]))
for _, id in ipairs(ids) do
  local number, entry = string.match(redis.call('HGET', key('ob', 'd'), id) or '', '^(%d+)#(.*)$')
  redis.call('ZADD', key('ob'), NOW + RESEND, id)
  SEND[#SEND + 1] = id .. '#' .. (number or '0')
  SEND[#SEND + 1] = entry or ''
  local E, G, A = string.match(id, '^p:([^|]*)|(%d+)|(.*)$')
  if E and redis.call('HGET', key('a', E, G, A), 'status') == 'waiting' then
    redis.call('HSET', key('a', E, G, A), 'status', 'ready', 'since', NOW)
    redis.call('SREM', key('delay', E), G .. '|' .. A)
  end
end
local first = redis.call('ZRANGE', key('ob'), 0, 0, 'WITHSCORES')
return answer(first[2] and tostring(math.max(0, tonumber(first[2]) - NOW)) or '-1')
