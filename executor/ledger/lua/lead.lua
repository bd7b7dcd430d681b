-- Who leads the watchdogs. ARGV: holder, for how long in ms. Answers the number of its term, or '' where another leads.
-- The number rises whenever the lead goes to somebody: what a former leader still wants to do carries an old one.
local holder = redis.call('GET', key('lead'))
if holder == ARGV[1] and redis.call('EXISTS', key('lead', 'n')) == 1 then
  redis.call('PEXPIRE', key('lead'), ARGV[2])
elseif holder and holder ~= ARGV[1] then
  return answer('ok', '')
else
  redis.call('SET', key('lead'), ARGV[1], 'PX', ARGV[2])
  redis.call('INCR', key('lead', 'n'))
end
return answer('ok', redis.call('GET', key('lead', 'n')))
