-- A person has chosen. ARGV: E, choices, their key, who, sends (1: what follows; else it is due at once), turn of the
-- offer. Answers ok, unknown, or refused with why: the state, "chosen", "late", or "another" offer.
SENDS = ARGV[5] == '1'
local E = ARGV[1]
local x = load(E)
if not x then return answer('unknown') end
local v = redis.call('HMGET', key('x', E), 'offer', 'choice', 'choice_key', 'choose_by')
if ARGV[3] ~= '' and v[3] == ARGV[3] then return answer('ok') end  -- the first answer was lost on its way
if x.state ~= 'rolling_back' or x.gen ~= 0 or not v[1] then return answer('refused', x.state) end
if v[2] then return answer('refused', 'chosen') end
if NOW >= tonumber(v[4]) then return answer('refused', 'late') end
if ARGV[6] ~= '' and ARGV[6] ~= x.turn then return answer('refused', 'another') end
turn(x)
redis.call('HSET', key('x', E), 'choice', ARGV[2], 'choice_key', ARGV[3], 'choice_by', ARGV[4], 'choice_at', NOW)
emit(E, 'rollback:chosen', '"by":' .. q(ARGV[4]) .. ',"choices":' .. ARGV[2])
post('rb:' .. E, NOW + RESEND, task_entry('rollback.begin', E .. ':begin', q(E)), true)
return answer('ok')
