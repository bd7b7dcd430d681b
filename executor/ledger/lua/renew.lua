-- A worker lives, and asks about what it runs. ARGV: incarnation, its vitals or empty, then E, G, A, token, ...
-- Answers fenced, or ok with the tokens whose attempts must stop, how many new documents devices ever got, and whether it
-- is known (1 or 0): a server that was lost with its last second may have forgotten it.
local I = ARGV[1]
if redis.call('ZSCORE', key('fenced'), I) then
  redis.call('ZADD', key('fenced'), NOW, I)  -- it is connected: when it hangs up, its process has ended
  return answer('fenced')
end
redis.call('HINCRBY', key('W'), I, 1)
redis.call('ZADD', key('seen'), NOW, I)
if ARGV[2] ~= '' then redis.call('HSET', key('vitals'), I, ARGV[2]) end
local stopped = {}
for i = 3, #ARGV, 4 do
  local v = redis.call('HGET', key('a', ARGV[i], ARGV[i + 1], ARGV[i + 2]), 'token')
  local x = redis.call('HMGET', key('x', ARGV[i]), 'state', 'mode')
  if v ~= ARGV[i + 3] or (x[1] == 'stopping' and x[2] ~= 'stop') then stopped[#stopped + 1] = ARGV[i + 3] end
end
local known = redis.call('HEXISTS', key('workers'), I) + redis.call('HEXISTS', key('leaving'), I)
return answer('ok', stopped, redis.call('HGET', key('fleet'), 'news') or '0', math.min(known, 1))
