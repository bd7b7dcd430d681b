-- Nobody serves the devices of actions that could run. ARGV: term, E, G, wait in ms or nothing, then A, error, ...
-- Answers for each: waiting (said once in an event), failed when the wait is over, or noop. Without a wait they wait
-- on, and one that comes later is counted from now: their device still lives. A rollback waits as long as it may take
-- at all (overdue.lua).
local E, G, wait = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if deposed(ARGV[1]) then return answer('deposed') end
local x = load(E)

local function abandon(A, error)
  local rule = x and is_open(x, G) and rule_of(E, G, A)
  if not rule or rule.s ~= x.stage then return 'noop' end
  local name = key('a', E, G, A)
  local v = redis.call('HMGET', name, 'status', 'unserved')
  if v[1] and v[1] ~= 'ready' then return 'noop' end
  if not v[2] then
    redis.call('HSET', name, 'unserved', NOW)
    if G > 0 then
      redis.call('HSET', key('x', E), 'rb_waits', 1, 'waiting_for',
        'a worker for device ' .. device_of(x, G, A, rule) .. ', to take back ' .. A)
    end
    emit(E, action_event(G, 'waiting'), '"action":' .. q(A) .. ',"error":' .. error)
    return 'waiting'
  end
  if G > 0 and redis.call('HEXISTS', key('x', E), 'rb_longer') == 0 then
    redis.call('HSET', key('x', E), 'rb_waits', 1)
    return 'waiting'
  end
  if G == 0 and not wait then
    redis.call('HSET', name, 'unserved', NOW)
    return 'waiting'
  end
  if G == 0 and NOW - tonumber(v[2]) < wait then return 'waiting' end
  if G > 0 then redis.call('HDEL', key('x', E), 'waiting_for') end
  finish(x, G, A, 'failed', '"error":' .. error, nil)
  fail(x, G, A, rule, error)
  drain(x)
  return 'failed'
end

local became = {}
for i = 5, #ARGV, 2 do became[#became + 1] = abandon(ARGV[i], ARGV[i + 1]) end
return answer('ok', became)
