-- Accept an execution: from here on it is never lost. ARGV: E, strategy name, version, document, delay in ms.
-- Its format is the oldest until its plan is known.
local E = ARGV[1]
if redis.call('EXISTS', key('x', E)) == 1 then return answer('exists') end
redis.call('HSET', key('x', E), 'state', 'pending', 'format', 1, 'created', NOW, 'seq', 0, 'gen', 0,
  'strategy', ARGV[2], 'version', ARGV[3])
redis.call('SET', key('doc', E), ARGV[4])
redis.call('ZADD', key('open'), NOW, E)
emit(E, 'execution:submitted', '"strategy":' .. q(ARGV[2]))
post('ex:' .. E, NOW + tonumber(ARGV[5]), task_entry('executor.execute_strategy', E, ''), false)
return answer('ok')
