-- The messages of this entry are still being published. ARGV: id#number. What was written again since then stays as it is.
local id, number = string.match(ARGV[1], '^(.*)#(%d+)$')
local there = id and string.match(redis.call('HGET', key('ob', 'd'), id) or '', '^(%d+)#')
if there == number then redis.call('ZADD', key('ob'), NOW + RESEND, id) end
return answer('ok')
