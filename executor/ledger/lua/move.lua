-- What a device was to do that is lost, or drained, goes to another one. ARGV: term, E, G, from, to, reason, error of
-- the lost device or '', messages: JSON lists of actions, of which each moves as a whole or not at all. Never begun:
-- where the device was our choice. Begun: only what may run again, or what the other device reaches too. Answers the
-- actions that were moved; one entry of the outbox publishes their messages again.
local E, G, from, to, reason, error = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if deposed(ARGV[1]) then return answer('deposed') end
local x = load(E)
local moved = {}

local function may_move(A)
  local rule = rule_of(E, G, A)
  if not rule or not rule.m or rule.s ~= x.stage then return false end
  local v = redis.call('HMGET', key('a', E, G, A), 'status', 'attempt', 'at', 'probe')
  if (v[1] and v[1] ~= 'ready') or (v[3] or rule.d) ~= from then return false end
  local begun = tonumber(v[2] or 0) > 0 or v[4]  -- whoever is asked for first has begun, also where attempts were forgotten
  return not begun or rule.id or rule.re
end

-- What comes later in a sequence goes along with its head, whose message carries it.
local function has_its_turn(A)
  local before = rule_of(E, G, A).p
  return not before or #moved > 0 or FINAL[redis.call('HGET', key('a', E, G, before), 'status')]
end

-- It may have begun where nobody can look any more: what is known of that is kept apart, and begins anew elsewhere.
local function leave_behind(name)
  local v = redis.call('HMGET', name, 'effect', 'undo', 'effect_fallback', 'undo_fallback', 'left')
  if (v[1] and v[1] ~= 'none') or (v[3] and v[3] ~= 'none') then
    local left = '{"device":' .. q(from) .. ',"effect":' .. q(v[1] or 'none') .. ',"undo":' .. (v[2] or 'null') ..
      ',"effect_fallback":' .. q(v[3] or 'none') .. ',"undo_fallback":' .. (v[4] or 'null') .. '}'
    redis.call('HSET', name, 'left', v[5] and string.sub(v[5], 1, -2) .. ',' .. left .. ']' or '[' .. left .. ']')
  end
  redis.call('HDEL', name, 'effect', 'undo', 'effect_fallback', 'undo_fallback')
end

local function move(A)
  local name, place = key('a', E, G, A), E .. '|' .. G .. '|' .. A
  if not rule_of(E, G, A).re then leave_behind(name) end
  if redis.call('HDEL', name, 'unserved') == 1 and G > 0 then
    redis.call('HDEL', key('x', E), 'rb_waits', 'waiting_for')  -- who else waits says so again
  end
  redis.call('HSET', name, 'status', 'ready', 'at', to, 'since', NOW)
  redis.call('HDEL', key('park'), place)
  redis.call('SREM', key('drainpark', from), place)
  redis.call('SREM', key('drainwait', E), A)
  redis.call('LREM', key('wait', E), 0, A)
  local rule = rule_of(E, G, A)
  if rule.k then redis.call('LREM', key('winwait', E, G, rule.of), 0, A) end
  strike('p:' .. place)
  emit(E, action_event(G, 'moved'), '"action":' .. q(A) .. ',"from":' .. q(from) .. ',"to":' .. q(to) ..
    ',"reason":' .. q(reason))
  moved[#moved + 1] = A
end

for _, message in ipairs(x and is_open(x, G) and from ~= to and cjson.decode(ARGV[8]) or {}) do
  local whole = #message > 0
  for _, A in ipairs(message) do whole = whole and may_move(A) end
  if whole and has_its_turn(message[1]) then
    if error ~= '' and redis.call('HSETNX', key('x', E), 'lost:' .. from, NOW) == 1 then
      emit(E, 'distributed:device:failed', '"device":' .. q(from) .. ',"error":' .. q(error))
    end
    for _, A in ipairs(message) do move(A) end
  end
end
if #moved > 0 then
  local number = redis.call('HINCRBY', key('x', E), 'moves', 1)
  post('ag:' .. E .. '|' .. G .. '|' .. number, NOW + RESEND, '{"kind":"again","execution":' .. q(E) ..
    ',"generation":' .. G .. ',"stage":' .. x.stage .. ',"actions":' .. cjson.encode(moved) .. '}', true)
end
return answer('ok', moved)
