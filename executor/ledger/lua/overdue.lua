-- An execution, or its rollback, has passed its time. ARGV: E, error.
local x = load(ARGV[1])
local due = redis.call('ZSCORE', key('deadlines'), ARGV[1])
if not x or not due or tonumber(due) > NOW then return answer('noop') end
redis.call('ZREM', key('deadlines'), ARGV[1])
if x.state == 'running' then
  stop(x, 'rollback', 'failed', ARGV[2])
elseif x.state == 'rolling_back' and x.gen > 0 then
  stop(x, 'cut', '', ARGV[2])
end
return answer('ok')
