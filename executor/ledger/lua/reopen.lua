-- A person wants an execution taken back that has ended. ARGV: E, request, its key, who, sends (1: what follows; else
-- it is due at once). Answers ok, unknown, or refused with the state, or with "still at it".
SENDS = ARGV[5] == '1'
local E = ARGV[1]
local x = load(E)
if not x then return answer('unknown') end
local v = redis.call('HMGET', key('x', E), 'request_key', 'started', 'created')
if ARGV[3] ~= '' and v[1] == ARGV[3] then return answer('ok') end  -- the first answer was lost on its way
if not x.ended or not v[2] then return answer('refused', x.state) end
if redis.call('HEXISTS', key('x', E), 'forgetting') == 1 then return answer('unknown') end
local ghosts = redis.call('HGETALL', key('ghost', E))
for i = 1, #ghosts, 2 do
  local place, I = string.match(ghosts[i], '^(.*)|([^|]*)$')
  if NOW >= tonumber(ghosts[i + 1]) then
    redis.call('HDEL', key('ghost', E), ghosts[i])
    redis.call('SREM', key('L', I), E .. '|' .. place)
  end
end
if redis.call('HLEN', key('ghost', E)) > 0 then return answer('refused', 'still at it') end
local outcome = x.state
redis.call('HSETNX', key('x', E), 'last', x.gen)  -- of a release that knew one way back only
turn(x)
if outcome == 'completed' then outcome = 'rolled_back' end
redis.call('HSET', key('x', E), 'state', 'rolling_back', 'gen', 0, 'rb_started', NOW, 'mode', 'rollback', 'outcome', outcome,
  'request', ARGV[2], 'request_key', ARGV[3])
redis.call('HDEL', key('x', E), 'finished', 'rb_status', 'unplanned', 'stumbled_rolling_back', 'offer', 'choice', 'halted')
redis.call('ZREM', key('done'), E)
redis.call('ZADD', key('open'), v[3], E)
emit(E, 'rollback:started', '"reason":{"type":"Requested","message":' .. q('asked for by ' .. ARGV[4]) .. ',"action":null}')
post('rb:' .. E, NOW + RESEND, task_entry('rollback.begin', E .. ':begin', q(E)), true)
return answer('ok')
