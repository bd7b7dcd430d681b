-- needs the prelude of the fleet
-- A worker ends in order. ARGV: incarnation. One that still holds something is left to the watchdog.
if redis.call('SCARD', key('L', ARGV[1])) > 0 then return answer('busy') end
remove_worker(ARGV[1])
return answer('ok')
