-- These were sent. ARGV: id#number, ... What was written again since then stays.
for _, sent in ipairs(ARGV) do
  local id, number = string.match(sent, '^(.*)#(%d+)$')
  local there = id and string.match(redis.call('HGET', key('ob', 'd'), id) or '', '^(%d+)#')
  if there == number then strike(id or sent) end
end
return answer('ok')
