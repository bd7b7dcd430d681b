-- Which workers have not renewed for long. ARGV: how long, in ms. Answers the run of the server, its clock, whose last
-- renewal is older than that (or lies in the future: the clock was put back) with the time of it, and of workers of the
-- previous release, who tell no times, the renewal counters.
local silent = {}
for _, range in ipairs({ { '-inf', NOW - tonumber(ARGV[1]) }, { '(' .. NOW, '+inf' } }) do
  local found = redis.call('ZRANGEBYSCORE', key('seen'), range[1], range[2], 'WITHSCORES')
  for i = 1, #found, 2 do
    if redis.call('HEXISTS', key('W'), found[i]) == 1 then
      silent[#silent + 1] = found[i]
      silent[#silent + 1] = found[i + 1]
    else
      redis.call('ZREM', key('seen'), found[i])  -- buried by a coordinator of the previous release
    end
  end
end
local counted = {}
if redis.call('HLEN', key('W')) ~= redis.call('ZCARD', key('seen')) then
  local counters = redis.call('HGETALL', key('W'))
  for i = 1, #counters, 2 do
    if not redis.call('ZSCORE', key('seen'), counters[i]) then
      counted[#counted + 1] = counters[i]
      counted[#counted + 1] = counters[i + 1]
    end
  end
end
return answer('ok', string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or '', tostring(NOW), silent, counted)
