-- Somebody asks a coordinator for something that only it can work out. ARGV: E, task, request, key of the answer, sends
-- (1: what follows; else it is due at once). Asked again until it answers.
SENDS = ARGV[5] == '1'
if not load(ARGV[1]) then return answer('unknown') end
post('ask:' .. ARGV[4], NOW + 3 * RESEND, task_entry(ARGV[2], ARGV[4], q(ARGV[1]) .. ',' .. ARGV[3] .. ',' .. q(ARGV[4]) .. ',' .. NOW), true)
return answer('ok')
