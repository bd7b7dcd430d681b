-- needs the prelude of the fleet
-- A worker announces itself, before it consumes. ARGV: incarnation, announcement, protocol, coordinates (1 or 0),
-- store, host, device, ... Answers ok; fenced; protocol with the number of the cluster; or taken with the device, the
-- host of its owner, the worker that serves it, and when that was last heard.
local I, protocol, store, host = ARGV[1], tonumber(ARGV[3]), ARGV[5], ARGV[6]
if redis.call('ZSCORE', key('fenced'), I) then return answer('fenced') end
-- the coordinator that came last says what the cluster speaks; where nobody lives it may be anything
local coordinates, speaks = ARGV[4] == '1', tonumber(redis.call('GET', key('protocol')) or '')
local alone = redis.call('ZCOUNT', key('seen'), NOW - 10000, '+inf') == 0
if speaks and math.abs(protocol - speaks) > 1 and not (coordinates and alone) then
  return answer('protocol', tostring(speaks))
end
for i = 7, #ARGV do
  -- a coordinator of the release before buries workers, and knows of no such list
  for _, other in ipairs(redis.call('SMEMBERS', key('serving', ARGV[i]))) do
    if redis.call('HEXISTS', key('W'), other) == 0 then redis.call('SREM', key('serving', ARGV[i]), other) end
  end
  local owner = object(redis.call('HGET', key('owner'), ARGV[i]))
  if store ~= '' and text_of(owner.store) ~= '' and owner.store ~= store then
    local holder, heard
    for _, other in ipairs(redis.call('SMEMBERS', key('serving', ARGV[i]))) do
      local seen = tonumber(redis.call('ZSCORE', key('seen'), other) or 0)
      if other ~= I and (not heard or seen > heard or (seen == heard and other > holder)) then
        holder, heard = other, seen
      end
    end
    if holder then return answer('taken', ARGV[i], text_of(owner.host), holder, string.format('%.0f', heard)) end
  end
end
local keeps = {}
for i = 7, #ARGV do keeps[ARGV[i]] = true end
local left = withdraw(I, announcement_of(I), keeps)
redis.call('HDEL', key('leaving'), I)
redis.call('HSET', key('workers'), I, ARGV[2])
redis.call('HSET', key('W'), I, 0)
redis.call('ZADD', key('seen'), NOW, I)
if coordinates then redis.call('SET', key('protocol'), protocol) end
local joined = {}
for i = 7, #ARGV do
  local D = ARGV[i]
  if redis.call('SADD', key('serving', D), I) == 1 and redis.call('SCARD', key('serving', D)) == 1 then
    joined[#joined + 1] = D
  end
  local owner = object(redis.call('HGET', key('owner'), D))
  if store ~= '' and text_of(owner.store) ~= '' and owner.store ~= store then
    tell('distributed:device:replaced', '"device":' .. q(D) .. ',"host":' .. q(host) .. ',"store":' .. q(store) ..
      ',"former":{"host":' .. q(text_of(owner.host)) .. ',"store":' .. q(owner.store) .. '}')
  end
  redis.call('HSET', key('owner'), D, '{"store":' .. q(store ~= '' and store or text_of(owner.store)) .. ',"host":' ..
    q(host) .. '}')
end
topology_changed(joined, left)
return answer('ok')
