-- A person lets an execution go on that was to be taken back. ARGV: E, what was chosen, timeout in ms, who, turn for
-- which that was planned, then the actions of its stage that run (again). What was broken off, and may not run twice,
-- is asked for first; what had begun where it was moved stays there, with all that is known of it.
local E = ARGV[1]
local x = load(E)
-- after an earlier way back the stage is one of that
if not x or x.state ~= 'rolling_back' or x.last > 0 or x.stage < 0 or (ARGV[5] ~= '' and ARGV[5] ~= x.turn) then return answer('noop') end
strike('rb:' .. E)
turn(x)
for i = 6, #ARGV do
  local name = key('a', E, 0, ARGV[i])
  local v, rule = redis.call('HMGET', name, 'status', 'effect', 'borne', 'effect_fallback'), rule_of(E, 0, ARGV[i])
  local broken = v[1] == 'cancelled' and (RANK[v[2]] or 0) >= RANK.unknown and not rule.id
  local of = fan_out_of(ARGV[i])
  if of and FINAL[v[1]] and v[1] ~= 'succeeded' and v[1] ~= 'skipped' then
    redis.call('HINCRBY', key('fan', E, 0), of .. ':missed', -1)
  end
  if v[3] then  -- it is borne no more
    redis.call('HINCRBY', key('x', E), 'failures', -1)
    if of then redis.call('HINCRBY', key('fan', E, 0), of .. ':failed', -1) end
  end
  redis.call('HDEL', name, 'outcome', 'fatal', 'finished', 'settled', 'settlement', 'probe', 'attempt', 'takeovers', 'unserved',
    'borne')
  if (v[2] or 'none') == 'none' and (v[4] or 'none') == 'none' then redis.call('HDEL', name, 'at') end
  redis.call('HSET', name, 'status', 'ready', 'token', '', 'nonce', '', 'since', NOW)
  if broken then redis.call('HSET', name, 'probe', 1) end
end
redis.call('HSET', key('x', E), 'state', 'running', 'left', #ARGV - 5, 'mode', '', 'outcome', '', 'opened', NOW,
  'chosen', ARGV[2])
redis.call('HDEL', key('x', E), 'error', 'rb_started', 'waiting_for', 'offer', 'choice', 'request', 'request_key')
clear_places(E, 0)
redis.call('ZADD', key('deadlines'), NOW + tonumber(ARGV[3]), E)
emit(E, 'execution:resumed', '"by":' .. q(ARGV[4]) .. ',"actions":' .. (#ARGV - 5))
publish_stage(load(E))
return answer('ok')
