-- Shared by every script of the ledger: keys, outbox, events, and the few moves that change states.
-- KEYS[1] is the prefix of all keys of the shard ("rex:{0}:"). Times are milliseconds of the server's clock.
-- Every script answers {answer, {id, entry, id, entry, ...}}: the second part is what the caller sends now.

local P = KEYS[1]
local FORMAT = 2         -- of an execution; this release reads it and the one before
local IDLE = 1000        -- who sends looks at least so often; what is due sooner wakes him
local RESEND = 2000      -- a control message is sent again until its own script strikes it out
local TAKEOVERS = 5      -- a poison action that kills its worker each time ends here
local FINAL = { succeeded = true, failed = true, skipped = true, cancelled = true, timed_out = true }
local RANK = { none = 0, started = 1, unknown = 2, completed = 3 }
local SEND = {}
local SENDS = true       -- whether the caller sends what it is given

-- One concatenation for each length: a table for each key would be a tenth of a script's time.
local function key(kind, E, G, A)
  if A then return P .. kind .. ':' .. E .. ':' .. G .. ':' .. A end
  if G then return P .. kind .. ':' .. E .. ':' .. G end
  return E and P .. kind .. ':' .. E or P .. kind
end

local clock = redis.call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function q(text) return cjson.encode(text) end

local function answer(...) return { { ... }, SEND } end

-- One event, to the stream of its execution and to the common one; data is the inside of a JSON object. The common one
-- is for whoever watches everything, and holds no large data: that stands with the execution.
local function emit(E, name, data)
  local seq = redis.call('HINCRBY', key('x', E), 'seq', 1)
  redis.call('XADD', key('ev', E), seq .. '-0', 'n', name, 't', NOW, 'd', '{' .. data .. '}')
  redis.call('XADD', key('events'), 'MAXLEN', '~', 10000, '*',
    'x', E, 's', seq, 'n', name, 't', NOW, 'd', #data <= 2000 and '{' .. data .. '}' or '{}')
end

-- One event of the fleet, which belongs to no execution; else as `emit`.
local function tell(name, data)
  local seq = redis.call('HINCRBY', key('fleet'), 'seq', 1)
  redis.call('XADD', key('ev', 'fleet'), 'MAXLEN', '~', 10000, seq .. '-0', 'n', name, 't', NOW, 'd', '{' .. data .. '}')
  redis.call('XADD', key('events'), 'MAXLEN', '~', 10000, '*',
    'x', 'fleet', 's', seq, 'n', name, 't', NOW, 'd', #data <= 2000 and '{' .. data .. '}' or '{}')
end

-- Outbox: what must go out, with the time from which any coordinator sends it. Each writing has a number: who has sent
-- one strikes out that one, never what was written under the same id while it was on its way.
local function post(id, due, entry, now)
  if now and not SENDS then due, now = NOW, false end
  if due < NOW + IDLE then
    redis.call('LPUSH', key('nudge'), 1)
    redis.call('LTRIM', key('nudge'), 0, 0)
  end
  local number = redis.call('INCR', key('ob', 'n'))
  redis.call('ZADD', key('ob'), due, id)
  redis.call('HSET', key('ob', 'd'), id, number .. '#' .. entry)
  if now then
    SEND[#SEND + 1] = id .. '#' .. number
    SEND[#SEND + 1] = entry
  end
end

local function strike(id)
  redis.call('ZREM', key('ob'), id)
  redis.call('HDEL', key('ob', 'd'), id)
end

local function task_entry(task, id, args)
  return '{"kind":"task","task":' .. q(task) .. ',"id":' .. q(id) .. ',"args":[' .. args .. ']}'
end

local function load(E)
  local v = redis.call('HMGET', key('x', E), 'state', 'gen', 'stage', 'stages', 'left', 'limit', 'format', 'mode',
    'opened', 'rollback', 'failures', 'max_failures', 'outcome', 'finished', 'last', 'turn')
  if not v[1] then return nil end
  return { id = E, state = v[1], gen = tonumber(v[2] or 0), stage = tonumber(v[3] or -1), stages = tonumber(v[4] or 0),
    left = tonumber(v[5] or 0), limit = tonumber(v[6] or 0), format = tonumber(v[7] or 1), mode = v[8] or '',
    opened = tonumber(v[9] or 0), rollback = v[10] or '', failures = tonumber(v[11] or 0), max_failures = v[12],
    outcome = v[13] or '', ended = v[14] and true or false, last = tonumber(v[15] or v[2] or 0), turn = v[16] or '0' }
end

local function is_open(x, G)
  return x.gen == G and ((G == 0 and x.state == 'running') or (G > 0 and x.state == 'rolling_back'))
end

local function rule_of(E, G, A)
  local raw = redis.call('HGET', key('rule', E, G), A)
  return raw and cjson.decode(raw)
end

-- The device of an action: where it was moved, else where its plan has it.
local function device_of(x, G, A, rule) return redis.call('HGET', key('a', x.id, G, A), 'at') or rule.d end

-- Acts that only the leading watchdog may do carry the number of its term; '' is nobody's term, and always may.
local function deposed(term)
  return term ~= '' and redis.call('GET', key('lead', 'n')) ~= term
end

local function conclude_later(x)
  x.state = 'concluding'
  redis.call('HSET', key('x', x.id), 'state', 'concluding')
  post('con:' .. x.id, NOW + RESEND, task_entry('executor.conclude', x.id .. ':conclude', q(x.id)), true)
end

-- What a coordinator plans holds for what it has read: whatever asks it to look again makes that void.
local function turn(x) redis.call('HINCRBY', key('x', x.id), 'turn', 1) end

-- A stopping execution whose last live claim is gone goes on: to its rollback, or to its end.
local function drain(x)
  if x.state ~= 'stopping' or redis.call('SCARD', key('live', x.id)) > 0 then return end
  if redis.call('HLEN', key('ghost', x.id)) > 0 then return end  -- somebody who cannot be asked may still be at it
  if x.mode == 'rollback' and x.gen == 0 and x.rollback ~= 'none' then
    x.state = 'rolling_back'
    redis.call('HSET', key('x', x.id), 'state', 'rolling_back', 'rb_started', NOW)
    turn(x)
    emit(x.id, 'rollback:started', '"reason":' .. (redis.call('HGET', key('x', x.id), 'error') or 'null'))
    post('rb:' .. x.id, NOW + RESEND, task_entry('rollback.begin', x.id .. ':begin', q(x.id)), true)
  else
    conclude_later(x)
  end
end

-- Takes the parked message of an action out, if there is one, and sends it.
local function unpark(E, G, A, due)
  local name = E .. '|' .. G .. '|' .. A
  local signature = redis.call('HGET', key('park'), name)
  if signature then
    redis.call('HDEL', key('park'), name)
    post('p:' .. name, due or NOW + 1000, '{"kind":"signature","signature":' .. q(signature) .. '}', due == nil)
  end
  return signature
end

-- A freed slot goes to the action that has waited longest; the slot is taken for it here, so nobody overtakes.
local function wake(x)
  if x.limit == 0 then return end
  while redis.call('SCARD', key('slots', x.id)) < x.limit do
    local A = redis.call('LPOP', key('wait', x.id))
    if not A then return end
    redis.call('HSET', key('a', x.id, x.gen, A), 'since', NOW)
    -- one that does not wait any more may hold a slot, and keeps it
    if unpark(x.id, x.gen, A) then redis.call('SADD', key('slots', x.id), A) end
  end
end

-- The action that a step belongs to, where that runs on several devices (ID@DEVICE); nil of every other step.
local function fan_out_of(A) return string.find(A, '@', 1, true) and string.match(A, '^([^@]+)@') end

-- What is kept of the fan-outs of a generation, by id: the list of its steps; how many of them neither succeeded nor
-- were skipped (missed), and how many failures of it were borne (failed).
local function keep_fan_outs(E, G, first)
  local found = {}
  for i = first, #ARGV, 3 do
    local of = fan_out_of(ARGV[i])
    if of then
      found[of] = found[of] or {}
      table.insert(found[of], ARGV[i])
    end
  end
  for of, steps in pairs(found) do redis.call('HSET', key('fan', E, G), of, cjson.encode(steps)) end
end

local function fan_outs(E, G)
  local names = {}
  for _, name in ipairs(redis.call('HKEYS', key('fan', E, G))) do
    if not string.find(name, ':', 1, true) then names[#names + 1] = name end
  end
  return names
end

-- Nobody waits for a slot or a place any more, and nobody holds one.
local function clear_places(E, G)
  redis.call('DEL', key('slots', E), key('wait', E))
  for _, of in ipairs(fan_outs(E, G)) do redis.call('DEL', key('win', E, G, of), key('winwait', E, G, of)) end
end

-- A place in the window of a rolling fan-out that is given up goes to whoever has waited longest.
local function pass_on(x, G, of, A)
  local window = key('win', x.id, G, of)
  if redis.call('SREM', window, A) == 0 or not is_open(x, G) then return end
  while true do
    local B = redis.call('LPOP', key('winwait', x.id, G, of))
    if not B then return end
    redis.call('HSET', key('a', x.id, G, B), 'since', NOW)
    if unpark(x.id, G, B) then
      redis.call('SADD', window, B)
      return
    end
  end
end

local function release(x, G, A, holder)
  redis.call('SREM', key('live', x.id), G .. '|' .. A)
  redis.call('SREM', key('slots', x.id), A)
  redis.call('SREM', key('delay', x.id), G .. '|' .. A)
  if holder then redis.call('SREM', key('L', holder), x.id .. '|' .. G .. '|' .. A) end
end

-- What is known of an action's effect only ever gets worse: what one attempt has done the next does not take back.
local function worst(before, effect)
  return (before and RANK[before] > RANK[effect]) and before or effect
end

local function action_event(G, what)
  return (G > 0 and 'rollback:action:' or 'execution:action:') .. what
end

local EVENT_OF = { succeeded = 'completed', failed = 'failed', timed_out = 'failed', skipped = 'skipped', cancelled = 'cancelled' }

local function ask_to_advance(x)
  -- messages of moved actions carry no chord: then nobody else asks
  local later = redis.call('HEXISTS', key('x', x.id), 'moves') == 1 and 0 or 1000
  post('adv:' .. x.id .. '|' .. x.gen .. '|' .. x.stage, NOW + later, task_entry('executor.advance',
    x.id .. ':' .. x.gen .. ':' .. x.stage, q(x.id) .. ',' .. x.gen .. ',' .. x.stage), false)
end

-- The only place where an action becomes final, and the only one that counts `left` down.
-- outcome is the inside of a JSON object: "result":... or "error":...
local function finish(x, G, A, status, outcome, holder)
  redis.call('HSET', key('a', x.id, G, A), 'status', status, 'outcome', '{' .. outcome .. '}', 'finished', NOW, 'token', '')
  release(x, G, A, holder)
  redis.call('HDEL', key('park'), x.id .. '|' .. G .. '|' .. A)
  local of = fan_out_of(A)
  if of then
    if status ~= 'succeeded' and status ~= 'skipped' then redis.call('HINCRBY', key('fan', x.id, G), of .. ':missed', 1) end
    pass_on(x, G, of, A)
  end
  emit(x.id, action_event(G, EVENT_OF[status]), '"action":' .. q(A) .. ',"status":' .. q(status) ..
    (outcome == '' and '' or ',' .. outcome))
  if is_open(x, G) then
    x.left = redis.call('HINCRBY', key('x', x.id), 'left', -1)
    if x.left == 0 then ask_to_advance(x) end
    wake(x)
  end
end

-- No claim answers "run" from here on. mode: rollback (undo all) or stop (halt; what runs may finish); of a rollback
-- cut (its time is over) or halt (what must hold between two phases does not).
local function stop(x, mode, outcome, error)
  if x.state == 'stopping' then
    -- of several failures rollback beats stop; who cancelled without undo has decided
    if mode == 'rollback' and x.mode == 'stop' and x.outcome ~= 'cancelled' then
      x.mode = mode
      redis.call('HSET', key('x', x.id), 'mode', mode, 'error', error)
    end
    return drain(x)
  end
  x.state = 'stopping'
  x.mode = mode
  redis.call('HSET', key('x', x.id), 'state', 'stopping', 'mode', mode)
  if x.gen > 0 then
    redis.call('HSET', key('x', x.id), 'halted', error)
  else
    x.outcome = outcome
    redis.call('HSET', key('x', x.id), 'outcome', outcome, 'error', error)
  end
  emit(x.id, 'execution:stopping', '"mode":' .. q(mode) .. ',"error":' .. error)
  for _, A in ipairs(redis.call('LRANGE', key('wait', x.id), 0, -1)) do
    redis.call('HDEL', key('park'), x.id .. '|' .. x.gen .. '|' .. A)
    redis.call('SREM', key('slots', x.id), A)
  end
  for _, A in ipairs(redis.call('SMEMBERS', key('drainwait', x.id))) do  -- they never began
    redis.call('HDEL', key('park'), x.id .. '|0|' .. A)
  end
  redis.call('DEL', key('wait', x.id), key('drainwait', x.id))
  for _, of in ipairs(fan_outs(x.id, x.gen)) do
    for _, A in ipairs(redis.call('LRANGE', key('winwait', x.id, x.gen, of), 0, -1)) do
      redis.call('HDEL', key('park'), x.id .. '|' .. x.gen .. '|' .. A)
    end
    redis.call('DEL', key('winwait', x.id, x.gen, of))
  end
  local delayed = redis.call('SMEMBERS', key('delay', x.id))
  table.sort(delayed)
  for _, member in ipairs(delayed) do
    local G, A = string.match(member, '^(%d+)|(.*)$')
    strike('p:' .. x.id .. '|' .. member)
    local last = redis.call('HGET', key('a', x.id, G, A), 'outcome') or '{}'
    finish(x, tonumber(G), A, 'cancelled', string.sub(last, 2, -2), nil)
  end
  drain(x)
end

-- What a failed action means for its execution: the rule says rollback, stop or continue.
local function fail(x, G, A, rule, error)
  if rule.f == 'continue' then
    if G > 0 then return false end
    x.failures = redis.call('HINCRBY', key('x', x.id), 'failures', 1)
    redis.call('HSET', key('a', x.id, G, A), 'borne', 1)
    local several = rule.of and redis.call('HINCRBY', key('fan', x.id, G), rule.of .. ':failed', 1) > rule.b
    if not several and (not x.max_failures or x.failures <= tonumber(x.max_failures)) then return false end
  end
  redis.call('HSET', key('a', x.id, G, A), 'fatal', 1)
  if G > 0 then
    if rule.f == 'stop' and x.state == 'rolling_back' then stop(x, 'halt', '', error) end
    return true
  end
  local mode = rule.f == 'stop' and 'stop' or 'rollback'
  if x.state == 'running' or x.state == 'stopping' then stop(x, mode, 'failed', error) end
  return true
end

local function publish_stage(x)
  if x.left == 0 then return ask_to_advance(x) end
  local moved = redis.call('HEXISTS', key('x', x.id), 'moves') == 1 and ',"moved":true' or ''
  post('st:' .. x.id .. '|' .. x.gen .. '|' .. x.stage, NOW + RESEND,
    '{"kind":"stage","execution":' .. q(x.id) .. ',"generation":' .. x.gen .. ',"stage":' .. x.stage .. moved .. '}', true)
end

local function open_stage(x, S)
  local sizes = cjson.decode(redis.call('HGET', key('x', x.id), 'sizes' .. x.gen))
  x.stage, x.left, x.opened = S, sizes[S + 1], NOW
  redis.call('HSET', key('x', x.id), 'stage', S, 'left', x.left, 'opened', NOW)
  emit(x.id, 'execution:stage:started', '"generation":' .. x.gen .. ',"stage":' .. S .. ',"actions":' .. x.left)
  publish_stage(x)
end
