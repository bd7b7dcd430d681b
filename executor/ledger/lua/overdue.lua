-- An execution, or its rollback, has passed its time. ARGV: term, E, error.
if deposed(ARGV[1]) then return answer('deposed') end
local x = load(ARGV[2])
local due = redis.call('ZSCORE', key('deadlines'), ARGV[2])
if not x or not due or tonumber(due) > NOW then return answer('noop') end
redis.call('ZREM', key('deadlines'), ARGV[2])
if x.state == 'running' then
  stop(x, 'rollback', 'failed', ARGV[3])
elseif x.state == 'rolling_back' and x.gen > 0 then
  -- what waits for a device that is gone has had its time; what can still be done has as much again, once
  local waits = redis.call('HGET', key('x', x.id), 'rb_waits') == '1'
  if waits and redis.call('HSETNX', key('x', x.id), 'rb_longer', 1) == 1 then
    redis.call('ZADD', key('deadlines'), NOW + tonumber(redis.call('HGET', key('x', x.id), 'rb_timeout')), x.id)
  else
    stop(x, 'cut', '', ARGV[3])
  end
end
return answer('ok')
