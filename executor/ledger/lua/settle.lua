-- needs the prelude of claims
-- Store how an attempt ended, only for the current token; then, for a fused message, claim what follows.
-- ARGV: E, G, A, token, status, outcome, nonce, effect, signature, delay in ms, holder, next nonce,
-- device whose queue delivered the message or '', number of marks (fields to keep with the action), then field, value,
-- ..., then what follows: A, ...
-- status: a final one, or "retry". outcome: the inside of a JSON object.
local E, G, A, token, status, outcome = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local nonce, effect, signature, holder = ARGV[7], ARGV[8], ARGV[9], ARGV[11]
local x = load(E)
if not x then return answer('stale') end
local name = key('a', E, G, A)
local marks = 14 + 2 * tonumber(ARGV[14])
local v = redis.call('HMGET', name, 'token', 'settled', 'settlement', 'effect', 'attempt', 'status', 'holder')
local verdict
if v[2] == nonce then
  verdict = v[3]  -- the answer of the first call was lost
elseif v[1] ~= token or token == '' or v[6] ~= 'running' then
  return answer('stale')
else
  redis.call('HSET', name, 'effect', worst(v[4], effect), 'settled', nonce)
  for i = 15, marks, 2 do redis.call('HSET', name, ARGV[i], ARGV[i + 1]) end
  local error = string.match(outcome, '^"error":(.*)$') or 'null'
  if error ~= 'null' then redis.call('HSET', name, 'last_error', error) end
  if status == 'retry' and is_open(x, G) then
    verdict = 'retry'
    redis.call('HSET', name, 'status', 'waiting', 'token', '', 'outcome', '{' .. outcome .. '}')
    release(x, G, A, v[7])
    -- a duplicate that was parked here is worth nothing any more, and would pass for a place in the queue for slots
    redis.call('HDEL', key('park'), E .. '|' .. G .. '|' .. A)
    redis.call('SADD', key('delay', E), G .. '|' .. A)
    emit(E, action_event(G, 'retrying'), '"action":' .. q(A) .. ',"attempt":' .. v[5] .. ',"delay_ms":' .. ARGV[10] .. ',' .. outcome)
    post('p:' .. E .. '|' .. G .. '|' .. A, NOW + tonumber(ARGV[10]), '{"kind":"signature","signature":' .. q(signature) .. '}', false)
    wake(x)
  else
    -- one that would have been tried again has not failed for good: the stop that came before it stays as it is
    local unasked = status == 'cancelled' and is_open(x, G)
    local decides = unasked or status == 'failed' or status == 'timed_out'
    if unasked or status == 'retry' then status = 'failed' end
    verdict = 'ok'
    finish(x, G, A, status, outcome, v[7])
    if decides and fail(x, G, A, rule_of(E, G, A), error) then verdict = 'fatal' end
    drain(x)
  end
  redis.call('HSET', name, 'settlement', verdict)
end
if verdict == 'ok' and #ARGV > marks then
  local actions = {}
  for i = marks + 1, #ARGV do actions[#actions + 1] = ARGV[i] end
  if redis.call('ZSCORE', key('fenced'), holder) then return { { 'ok', { 'fenced' } }, SEND } end
  return { { 'ok', claim_first(load(E), G, holder, ARGV[12], '', ARGV[13], actions) }, SEND }
end
return answer(verdict)
