-- Shared by the scripts by which actions begin: what a worker that asks for one is answered.

-- Whether what an action needs has not come about. need: id, whether it is enough that it ended, whether it fans out.
local function misses(x, G, need)
  if need[3] then
    return not need[2] and tonumber(redis.call('HGET', key('fan', x.id, G), need[1] .. ':missed') or 0) > 0
  end
  local state = redis.call('HGET', key('a', x.id, G, need[1]), 'status')
  return state ~= 'succeeded' and state ~= 'skipped' and not (need[2] and state and FINAL[state])
end

-- Of a rolling fan-out only so many are at it at once: true where it has its place in the window, or takes one.
local function has_place(x, G, A, rule)
  local window = key('win', x.id, G, rule.of)
  if redis.call('SISMEMBER', window, A) == 1 then return true end
  if redis.call('SCARD', window) >= rule.k then return false end
  redis.call('SADD', window, A)
  return true
end

-- What a step reads of another: its row, for `claim_answer`.
local function row_of(x, B)
  local b = redis.call('HMGET', key('a', x.id, 0, B), 'status', 'outcome', 'device', 'attempt')
  return { B, b[1] or '', b[2] or '', b[3] or '', b[4] or '0' }
end

-- One action for a worker: run, or why not. Answers nil where the action is final already and the next may be asked.
-- at: the device whose queue delivered the message; '' where nobody knows.
local function claim_one(x, G, A, holder, nonce, signature, at)
  local name = key('a', x.id, G, A)
  local rule = rule_of(x.id, G, A)
  if not rule then return { 'unknown', A } end
  local v = redis.call('HMGET', name, 'status', 'nonce', 'token', 'attempt', 'mode', 'takeovers', 'outcome', 'fatal', 'ord',
    'holder', 'probe', 'undo', 'unserved', 'undo_fallback', 'at')
  local status = v[1] or 'ready'
  if FINAL[status] then
    if v[8] then return { 'failed', A, v[7] or '{}' } end
    return nil
  end
  if not is_open(x, G) then
    if status == 'running' and v[2] == nonce then  -- the first answer was lost on its way: nothing has begun
      finish(x, G, A, 'cancelled', '"reason":"the execution was stopped before it began"', v[10])
      drain(x)
    end
    return { 'cancelled', A }
  end
  if rule.s ~= x.stage then return { 'unknown', A } end
  local device = v[15] or rule.d
  if at ~= '' and at ~= device then return { 'moved', A, device } end
  if rule.p then
    local before = redis.call('HGET', key('a', x.id, G, rule.p), 'status')
    if not (before and FINAL[before]) then return { 'early', A } end
  end
  if status == 'waiting' then return { 'wait', A } end
  local token, attempt, mode = v[3], tonumber(v[4] or 0), v[5]
  if status == 'running' then
    if v[2] ~= nonce then
      if signature == '' then return { 'signature', A } end
      redis.call('HSET', key('park'), x.id .. '|' .. G .. '|' .. A, signature)
      return { 'park', A, 'it runs elsewhere' }
    end
  else
    for _, need in ipairs(rule.n or {}) do
      if misses(x, G, need) then
        finish(x, G, A, 'skipped', '"reason":' .. q('it needs ' .. need[1] .. ', which did not succeed'), nil)
        return nil
      end
    end
    if rule.o and redis.call('HGET', key('a', x.id, G, rule.o), 'status') == 'succeeded' then
      finish(x, G, A, 'skipped', '"reason":' .. q('restored with ' .. rule.o), nil)
      return nil
    end
    if G == 0 and attempt == 0 and not v[11] and redis.call('HEXISTS', key('drained'), device) == 1 then
      if signature == '' then return { 'signature', A } end
      redis.call('HSET', key('park'), x.id .. '|' .. G .. '|' .. A, signature)
      redis.call('SADD', key('drainpark', device), x.id .. '|' .. G .. '|' .. A)
      redis.call('SADD', key('drainwait', x.id), A)
      if redis.call('SREM', key('slots', x.id), A) == 1 then wake(x) end
      if rule.k then pass_on(x, G, rule.of, A) end
      return { 'park', A, 'drained' }
    end
    -- its place in the window comes first: who holds a slot runs, and so nobody holds one and waits for a place
    if rule.k and not has_place(x, G, A, rule) then
      if signature == '' then return { 'signature', A } end
      if redis.call('HSET', key('park'), x.id .. '|' .. G .. '|' .. A, signature) == 1 then
        redis.call('RPUSH', key('winwait', x.id, G, rule.of), A)
      end
      return { 'park', A, 'max_unavailable' }
    end
    if x.limit > 0 and redis.call('SISMEMBER', key('slots', x.id), A) == 0 then
      if redis.call('SCARD', key('slots', x.id)) >= x.limit then
        if signature == '' then return { 'signature', A } end
        if redis.call('HSET', key('park'), x.id .. '|' .. G .. '|' .. A, signature) == 1 then
          redis.call('RPUSH', key('wait', x.id), A)
        end
        return { 'park', A, 'limits.parallel' }
      end
      redis.call('SADD', key('slots', x.id), A)
    end
    mode = v[11] and 'probe' or 'execute'
    if mode == 'execute' or attempt == 0 then attempt = attempt + 1 end
    token = attempt .. ':' .. nonce
    redis.call('HSET', name, 'status', 'running', 'nonce', nonce, 'token', token, 'attempt', attempt, 'mode', mode,
      'holder', holder, 'device', device, 'deadline', NOW + rule.t)
    if v[11] or v[13] then redis.call('HDEL', name, 'probe', 'unserved') end
    if v[13] and G > 0 then redis.call('HDEL', key('x', x.id), 'rb_waits', 'waiting_for') end  -- who else waits says so again
    if not v[9] then
      redis.call('HSET', name, 'started', NOW, 'ord', redis.call('HINCRBY', key('x', x.id), 'ord', 1))
    end
    redis.call('SADD', key('live', x.id), G .. '|' .. A)
    redis.call('SADD', key('L', holder), x.id .. '|' .. G .. '|' .. A)
    emit(x.id, action_event(G, 'started'), '"action":' .. q(A) .. ',"device":' .. q(device) .. ',"attempt":' .. attempt ..
      ',"mode":' .. q(mode))
  end
  local reads = {}
  for _, B in ipairs(rule.r or {}) do reads[#reads + 1] = row_of(x, B) end
  for _, of in ipairs(rule.rf or {}) do
    local rows = {}
    for _, B in ipairs(cjson.decode(redis.call('HGET', key('fan', x.id, 0), of) or '[]')) do rows[#rows + 1] = row_of(x, B) end
    reads[#reads + 1] = { '', cjson.encode(rows) }  -- one text: to read thousands of small ones takes a client long
  end
  local about = {}
  if rule.u then about = redis.call('HMGET', key('a', x.id, 0, rule.u), 'outcome', rule.w or 'undo', 'last_error') end
  local given = redis.call('HMGET', key('x', x.id), 'strategy', rule.i and 'inputs' or 'none', rule.c and 'context' or 'none')
  return { 'run', A, token, tostring(attempt), mode, redis.call('HGET', key('spec', x.id, G), A), given[1] or '',
    given[2] or '', given[3] or '', reads, { about[1] or '', about[2] or '', about[3] or '' },
    v[12] or '', v[14] or '', tostring(NOW), device }
end

-- The first action of a message that is not final yet.
local function claim_first(x, G, holder, nonce, signature, at, actions)
  for _, A in ipairs(actions) do
    local got = claim_one(x, G, A, holder, nonce, signature, at)
    if got then return got end
  end
  return { 'done' }
end
