-- End the lease of a holder that is gone. ARGV: term, E, G, A, incarnation, sure (1: its connections are gone), error.
-- An action that may not run twice is only taken over when the holder is surely gone; else at its deadline + 1 s it
-- ends as unknown. What may run twice is taken over at once; its former holder, when it is not surely gone, may be at
-- work until then all the same, so until then nothing of the execution is taken back: it keeps its lease as a ghost.
-- Answers ok, later or gone.
local E, G, A, I = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
if deposed(ARGV[1]) then return answer('deposed') end
local x = load(E)
local name = key('a', E, G, A)
local v = redis.call('HMGET', name, 'status', 'holder', 'deadline', 'takeovers', 'effect')
local lease = E .. '|' .. ARGV[3] .. '|' .. A
local sure = ARGV[6] == '1'
local ghost = G .. '|' .. A .. '|' .. I
if not x or v[1] ~= 'running' or v[2] ~= I then
  local works_until = x and redis.call('HGET', name, 'ghost:' .. I)
  if works_until and not sure and NOW < tonumber(works_until) then return answer('later') end
  redis.call('SREM', key('L', I), lease)
  if works_until then
    redis.call('HDEL', name, 'ghost:' .. I)
    redis.call('SREM', key('live', E), ghost)
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
if sure or NOW >= tonumber(v[3]) + 1000 then
  redis.call('SREM', key('L', I), lease)
else
  redis.call('HSET', name, 'ghost:' .. I, tonumber(v[3]) + 1000)
  redis.call('SADD', key('live', E), ghost)
end
emit(E, action_event(G, 'interrupted'), '"action":' .. q(A) .. ',"error":' .. ARGV[7])
unpark(E, G, A)
return answer('ok')
