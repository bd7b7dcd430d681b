-- needs the prelude of the fleet
-- A worker has written down the document of its device. ARGV: incarnation, device, version.
-- Answers ok, stale (another version is wanted by now) or foreign (it does not serve that device).
local device = ARGV[2]
local announced = object(redis.call('HGET', key('workers'), ARGV[1]))
local serves = false
for _, served in ipairs(type(announced.devices) == 'table' and announced.devices or {}) do serves = serves or served == device end
if not serves then return answer('foreign') end
local v = redis.call('HMGET', key('sync', device), 'version', 'acked')
if v[1] ~= ARGV[3] then return answer('stale') end
if v[2] == ARGV[3] then return answer('ok') end
redis.call('HSET', key('sync', device), 'acked', ARGV[3])
local waiting = redis.call('SMEMBERS', key('syncs', device))
table.sort(waiting)
for _, id in ipairs(waiting) do
  redis.call('SREM', key('syncing', id), device)
  local about = redis.call('HGET', key('syncing'), id)
  if about and redis.call('EXISTS', key('syncing', id)) == 0 then
    redis.call('HDEL', key('syncing'), id)
    tell('distributed:synchronization:completed', about)
  end
end
redis.call('DEL', key('syncs', device))
return answer('ok')
