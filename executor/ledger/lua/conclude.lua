-- The end of an execution. ARGV: E, final status, error or '', rollback summary or ''.
local E, status = ARGV[1], ARGV[2]

-- How many actions ended how on each device, as JSON.
local function results(E)
  local counts, devices = {}, {}
  for _, A in ipairs(redis.call('HKEYS', key('rule', E, 0))) do
    local v = redis.call('HMGET', key('a', E, 0, A), 'status', 'device')
    if FINAL[v[1]] then
      local device = v[2] or rule_of(E, 0, A).d
      if not counts[device] then
        counts[device] = {}
        devices[#devices + 1] = device
      end
      counts[device][v[1]] = (counts[device][v[1]] or 0) + 1
    end
  end
  table.sort(devices)
  local told = {}
  for _, device in ipairs(devices) do told[#told + 1] = q(device) .. ':' .. cjson.encode(counts[device]) end
  return '{' .. table.concat(told, ',') .. '}'
end

local x = load(E)
local decided = x and (x.outcome == '' and 'completed' or x.outcome)
-- one that a person asked to be taken back stays completed where nothing of it was
if decided == 'rolled_back' and status == 'completed' then decided = status end
-- another end than the decided one comes too late, and the entry stays for who comes with that
if x and x.state == 'concluding' and status ~= decided then return answer('noop') end
strike('con:' .. E)
if not x or not (x.state == 'concluding' or (x.state == 'pending' and status ~= 'completed')) then return answer('noop') end
strike('ex:' .. E)
redis.call('HSET', key('x', E), 'state', status, 'finished', NOW)
redis.call('HDEL', key('x', E), 'waiting_for')
if ARGV[3] ~= '' then redis.call('HSET', key('x', E), 'error', ARGV[3]) end
if ARGV[4] ~= '' then
  redis.call('HSET', key('x', E), 'rb_status', ARGV[4])
  if ARGV[4] == 'failed' then
    emit(E, 'rollback:failed', '"error":"the state before could not be proved"')
  else
    emit(E, 'rollback:completed', '"success":' .. (ARGV[4] == 'completed' and 'true' or 'false') .. ',"status":' .. q(ARGV[4]))
  end
end
clear_places(E, x.gen)
-- whoever may still be at it is remembered: it is not taken back meanwhile
redis.call('DEL', key('live', E), key('delay', E), key('drainwait', E))
redis.call('ZREM', key('open'), E)
redis.call('ZREM', key('deadlines'), E)
redis.call('ZADD', key('done'), NOW, E)
if redis.call('HEXISTS', key('x', E), 'spread') == 1 then
  emit(E, 'distributed:execution:completed', '"results":' .. results(E))
end
emit(E, 'execution:' .. status, '"strategy":' .. q(redis.call('HGET', key('x', E), 'strategy') or '') ..
  ',"success":' .. (status == 'completed' and 'true' or 'false') ..
  ',"error":' .. (redis.call('HGET', key('x', E), 'error') or 'null'))
return answer('ok')
