-- needs the prelude of the fleet
-- A device that nobody has served for long is forgotten, unless somebody has drained it. ARGV: ms, device, ...
for i = 2, #ARGV do
  local owner = object(redis.call('HGET', key('owner'), ARGV[i]))
  local left = tonumber(owner.left_ms)
  if left and left < NOW - tonumber(ARGV[1]) and redis.call('HEXISTS', key('drained'), ARGV[i]) == 0 then
    redis.call('HDEL', key('owner'), ARGV[i])
    redis.call('HDEL', key('health'), ARGV[i])
  end
end
return answer('ok')
