-- How far an action is. ARGV: E, G, A, token, fraction, message.
if ARGV[4] == '' or redis.call('HGET', key('a', ARGV[1], ARGV[2], ARGV[3]), 'token') ~= ARGV[4] then return answer('stale') end
emit(ARGV[1], action_event(tonumber(ARGV[2]), 'progress'), '"action":' .. q(ARGV[3]) .. ',"fraction":' .. ARGV[5] ..
  ',"message":' .. q(ARGV[6]))
return answer('ok')
