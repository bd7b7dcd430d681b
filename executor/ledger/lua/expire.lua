-- End the lease of a holder that is gone. ARGV: term, E, G, A, incarnation, sure (1: its connections are gone), error.
-- An action that may not run twice is only taken over when the holder is surely gone; else at its deadline + 1 s it
-- ends as unknown. Answers ok, later or gone.
local E, G, A, I = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
if deposed(ARGV[1]) then return answer('deposed') end
local x = load(E)
local name = key('a', E, G, A)
local v = redis.call('HMGET', name, 'status', 'holder', 'deadline', 'takeovers', 'effect')
local lease = E .. '|' .. ARGV[3] .. '|' .. A
local sure = ARGV[6] == '1'
local ghost = ARGV[3] .. '|' .. A .. '|' .. I
if not x or v[1] ~= 'running' or v[2] ~= I then
  local ends = x and redis.call('HGET', key('ghost', E), ghost)
  if ends and not sure and NOW < tonumber(ends) then return answer('later') end
  redis.call('SREM', key('L', I), lease)
  if ends then
    redis.call('HDEL', key('ghost', E), ghost)
    drain(x)
  end
  return answer('gone')
end
local rule = rule_of(E, G, A)
if not sure and not (rule.id and is_open(x, G)) and NOW < tonumber(v[3]) + 1000 then return answer('later') end
redis.call('HSET', name, 'effect', worst(v[5], 'unknown'), 'last_error', ARGV[7])
local takeovers = tonumber(v[4] or 0) + 1
if not is_open(x, G) then
  finish(x, G, A, 'cancelled', '"error":' .. ARGV[7], I)
  drain(x)
  return answer('ok')
end
if takeovers > TAKEOVERS or not (sure or rule.id) then
  finish(x, G, A, 'failed', '"error":' .. ARGV[7], I)
  fail(x, G, A, rule, ARGV[7])
  drain(x)
  return answer('ok')
end
redis.call('HSET', name, 'status', 'ready', 'probe', 1, 'token', '', 'since', NOW, 'takeovers', takeovers)
redis.call('SREM', key('live', E), G .. '|' .. A)  -- it keeps its slot
if sure or NOW >= tonumber(v[3]) + 1000 or not redis.call('ZSCORE', key('fenced'), I) then
  redis.call('SREM', key('L', I), lease)
else
  -- nobody reaches it, and it may go on as long: nothing is taken back meanwhile, and its lease is looked at again
  redis.call('HSET', key('ghost', E), ghost, tonumber(v[3]) + 1000)
end
emit(E, action_event(G, 'interrupted'), '"action":' .. q(A) .. ',"error":' .. ARGV[7])
unpark(E, G, A)
return answer('ok')
