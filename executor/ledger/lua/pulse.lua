-- Which workers have not renewed for long. ARGV: how long, in ms. Answers the run of the server, its clock, whose last
-- renewal is older than that (or lies in the future: the clock was put back) with the time of it, of workers of the
-- previous release, who tell no times, the renewal counters, and since when this run of the server has been looked at.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
local known = redis.call('HMGET', key('server'), 'run', 'since')
if known[1] ~= run or tonumber(known[2]) > NOW then
  known[2] = known[1] and NOW or 0  -- of the first run nobody was heard before
  redis.call('HSET', key('server'), 'run', run, 'since', known[2])
end
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
return answer('ok', run, tostring(NOW), silent, counted, tostring(known[2]))
