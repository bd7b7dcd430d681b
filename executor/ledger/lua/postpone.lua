-- Somebody is at this entry. ARGV: id, or id#number: then what was written again since stays as it is.
local id, number = string.match(ARGV[1], '^(.*)#(%d+)$')
local there = id and string.match(redis.call('HGET', key('ob', 'd'), id) or '', '^(%d+)#')
if there == number then redis.call('ZADD', key('ob'), 'XX', 'GT', NOW + RESEND, id or ARGV[1]) end
return answer('ok')
