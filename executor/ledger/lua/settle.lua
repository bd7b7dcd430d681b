-- Store how an attempt ended, only for the current token; then, for a fused message, claim what follows.
-- ARGV: E, G, A, token, status, outcome, nonce, effect, holder, signature, delay in ms, marks, next nonce, A, ...
-- status: a final one, or "retry". outcome: the inside of a JSON object. marks: a JSON object of text fields to keep.
local E, G, A, token, status, outcome = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local nonce, effect, holder, signature = ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local x = load(E)
if not x then return answer('stale') end
local name = key('a', E, G, A)
local v = redis.call('HMGET', name, 'token', 'settled', 'settlement', 'effect', 'attempt', 'status')
local verdict
if v[2] == nonce then
  verdict = v[3]  -- the answer of the first call was lost
elseif v[1] ~= token or token == '' or v[6] ~= 'running' then
  return answer('stale')
else
  local rule = rule_of(E, G, A)
  local worst = (RANK[v[4] or 'none'] > RANK[effect]) and v[4] or effect
  redis.call('HSET', name, 'effect', worst, 'settled', nonce)
  for field, value in pairs(cjson.decode(ARGV[12])) do redis.call('HSET', name, field, value) end
  local error = string.match(outcome, '^"error":(.*)$') or 'null'
  if error ~= 'null' then redis.call('HSET', name, 'last_error', error) end
  if status == 'retry' and is_open(x, G) then
    verdict = 'retry'
    redis.call('HSET', name, 'status', 'waiting', 'token', '', 'outcome', '{' .. outcome .. '}')
    release(x, G, A, holder)
    redis.call('SADD', key('delay', E), G .. '|' .. A)
    emit(E, action_event(G, 'retrying'), '"action":' .. q(A) .. ',"attempt":' .. v[5] .. ',"delay_ms":' .. ARGV[11] .. ',' .. outcome)
    post('p:' .. E .. '|' .. G .. '|' .. A, NOW + tonumber(ARGV[11]), '{"kind":"signature","signature":' .. q(signature) .. '}', false)
    wake(x)
  else
    if status == 'retry' then status = 'failed' end
    verdict = 'ok'
    finish(x, G, A, status, outcome, holder)
    if status == 'failed' or status == 'timed_out' then
      if fail(x, G, A, rule, error) then verdict = 'fatal' end
    end
    drain(x)
  end
  redis.call('HSET', name, 'settlement', verdict)
end
if verdict == 'ok' and #ARGV > 13 then
  local actions = {}
  for i = 14, #ARGV do actions[#actions + 1] = ARGV[i] end
  if redis.call('SISMEMBER', key('fenced'), holder) == 1 then return { { 'ok', { 'fenced' } }, SEND } end
  return { { 'ok', claim_first(load(E), G, holder, ARGV[13], '', actions) }, SEND }
end
return answer(verdict)
