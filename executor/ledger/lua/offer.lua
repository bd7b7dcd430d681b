-- A guided rollback waits for a person. ARGV: E, offer, how long in ms, turn for which it was made.
local E, wait = ARGV[1], tonumber(ARGV[3])
local x = load(E)
if not x or x.state ~= 'rolling_back' or x.gen ~= 0 or redis.call('HEXISTS', key('x', E), 'offer') == 1
  or (ARGV[4] ~= '' and ARGV[4] ~= x.turn) then
  return answer('noop')
end
redis.call('HSET', key('x', E), 'offer', ARGV[2], 'choose_by', NOW + wait,
  'waiting_for', 'a person chooses what is undone: rex rollback ' .. E .. ' --choose')
redis.call('HDEL', key('x', E), 'choice')
turn(x)
strike('rb:' .. E)
post('rb:' .. E, NOW + wait, task_entry('rollback.begin', E .. ':begin', q(E)), false)
emit(E, 'rollback:waiting', '"wait_ms":' .. wait .. ',"offer":' .. ARGV[2])
return answer('ok')
