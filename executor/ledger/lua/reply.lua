-- The answer to what was asked. ARGV: key, answer. Whoever does not come for it within a minute has left.
strike('ask:' .. ARGV[1])
redis.call('DEL', key('reply', ARGV[1]))  -- a question that was asked twice may be answered twice
redis.call('RPUSH', key('reply', ARGV[1]), ARGV[2])
redis.call('PEXPIRE', key('reply', ARGV[1]), 60000)
return answer('ok')
