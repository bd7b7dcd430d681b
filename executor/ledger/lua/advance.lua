-- A stage has ended: open the next, fail, or conclude. ARGV: E, G, S, error or '', criteria or ''.
local E, G, S = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
strike('adv:' .. E .. '|' .. ARGV[2] .. '|' .. ARGV[3])
local x = load(E)
if not x or not is_open(x, G) or x.stage ~= S or x.left > 0 then return answer('noop') end
if ARGV[5] ~= '' then redis.call('HSET', key('x', E), 'criteria', ARGV[5]) end
if ARGV[4] ~= '' then
  stop(x, 'rollback', 'failed', ARGV[4])
elseif S + 1 < x.stages then
  open_stage(x, S + 1)
else
  conclude_later(x)
end
return answer('ok')
