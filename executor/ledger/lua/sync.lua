-- These devices are to have this document. ARGV: id of the synchronisation, execution as JSON (or null), document, its
-- digest, devices as JSON, then the devices. Those that have other content get it as a new version: one above the
-- highest that any of them has. Equal documents are kept once. Answers the version, then for each device version,
-- acknowledged, at.
local id, digest = ARGV[1], ARGV[4]
local highest, before, changes = 0, {}, false
for i = 6, #ARGV do
  local v = redis.call('HMGET', key('sync', ARGV[i]), 'version', 'digest')
  before[i] = v[2]
  changes = changes or v[2] ~= digest
  highest = math.max(highest, tonumber(v[1] or 0))
end
if changes then highest = highest + 1 end

-- What waited for the older document of this device will never be complete.
local function supersede(device)
  for _, other in ipairs(redis.call('SMEMBERS', key('syncs', device))) do
    redis.call('HDEL', key('syncing'), other)
    redis.call('DEL', key('syncing', other))
  end
  redis.call('DEL', key('syncs', device))
end

local function replace(device, old)
  supersede(device)
  if old and redis.call('HINCRBY', key('synced', 'n'), old, -1) == 0 then
    redis.call('HDEL', key('synced', 'n'), old)
    redis.call('HDEL', key('synced'), old)
  end
  redis.call('HINCRBY', key('synced', 'n'), digest, 1)
  redis.call('HSET', key('synced'), digest, ARGV[3])
  redis.call('HSET', key('sync', device), 'version', highest, 'digest', digest, 'at', NOW)
end

local told = {}
for i = 6, #ARGV do
  local device = ARGV[i]
  if before[i] ~= digest then replace(device, before[i]) end
  local v = redis.call('HMGET', key('sync', device), 'version', 'acked', 'at')
  if v[1] ~= v[2] then
    redis.call('SADD', key('syncing', id), device)
    redis.call('SADD', key('syncs', device), id)
    redis.call('HSET', key('syncing'), id, '"devices":' .. ARGV[5] .. ',"version":' .. highest .. ',"executionId":' .. ARGV[2])
  end
  told[#told + 1] = v[1]
  told[#told + 1] = v[2] or '0'
  told[#told + 1] = v[3]
end
if changes then redis.call('HINCRBY', key('fleet'), 'news', 1) end
return answer('ok', tostring(highest), told)
