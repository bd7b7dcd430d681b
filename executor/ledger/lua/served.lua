-- The devices of these actions are served again. ARGV: E, G, A, ...
if tonumber(ARGV[2]) > 0 then redis.call('HDEL', key('x', ARGV[1]), 'rb_waits', 'waiting_for') end  -- who else waits says so again at the next look
for i = 3, #ARGV do redis.call('HDEL', key('a', ARGV[1], ARGV[2], ARGV[i]), 'unserved') end
return answer('ok')
