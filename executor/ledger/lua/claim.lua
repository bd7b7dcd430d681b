-- needs the prelude of claims
-- May this worker run the first action of its message that is not final? ARGV: E, G, holder, nonce, signature, device
-- whose queue delivered the message or '', then A, ...
-- The signature is only needed to park; without it the answer is "signature", and the call is made again with it.
local E, G, holder, nonce, signature, at = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local x = load(E)
if not x or not G or G > x.last or #ARGV < 7 then return answer('unknown', ARGV[7] or '') end
if redis.call('ZSCORE', key('fenced'), holder) then return answer('fenced') end
if x.format > FORMAT then
  if signature == '' then return answer('signature', ARGV[7]) end
  post('p:' .. E .. '|' .. G .. '|' .. ARGV[7], NOW + 5000, '{"kind":"signature","signature":' .. q(signature) .. '}', false)
  return answer('park', ARGV[7], 'it needs a newer worker')
end
local actions = {}
for i = 7, #ARGV do actions[#actions + 1] = ARGV[i] end
local got = claim_first(x, G, holder, nonce, signature, at, actions)
return { got, SEND }
