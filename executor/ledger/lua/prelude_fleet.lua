-- Shared by the scripts about workers and devices; stands after prelude.lua.

-- What somebody wrote as a JSON object; empty for what is none: strangers write to the ledger too.
local function object(text)
  local ok, value = pcall(cjson.decode, text or '')
  return ok and type(value) == 'table' and value or {}
end

local function text_of(value) return type(value) == 'string' and value or '' end

local function array(texts)
  local quoted = {}
  for i, text in ipairs(texts) do quoted[i] = q(text) end
  return '[' .. table.concat(quoted, ',') .. ']'
end

local function topology_changed(joined, left)
  redis.call('HINCRBY', key('fleet'), 'workers', 1)
  if #joined + #left > 0 then
    tell('distributed:topology:changed', '"joined":' .. array(joined) .. ',"left":' .. array(left))
  end
end

local function announcement_of(I)
  return object(redis.call('HGET', key('workers'), I) or redis.call('HGET', key('leaving'), I))
end

-- A worker serves no more what it announced, but for what it keeps. Answers the devices that nobody serves now.
local function withdraw(I, told, keeps)
  local left = {}
  for _, D in ipairs(type(told.devices) == 'table' and told.devices or {}) do
    if type(D) == 'string' and not keeps[D] and redis.call('SREM', key('serving', D), I) == 1
        and redis.call('SCARD', key('serving', D)) == 0 then
      left[#left + 1] = D
      local owner = object(redis.call('HGET', key('owner'), D))
      redis.call('HSET', key('owner'), D, '{"store":' .. q(text_of(owner.store)) .. ',"host":' .. q(text_of(owner.host)) ..
        ',"left_ms":' .. NOW .. '}')
    end
  end
  return left
end

-- Takes a worker out of everything that knows it. Answers its host, and the devices that nobody serves now.
local function remove_worker(I)
  local told = announcement_of(I)
  local left = withdraw(I, told, {})
  redis.call('SADD', key('sweep'), I)
  redis.call('HDEL', key('W'), I)
  redis.call('HDEL', key('vitals'), I)
  redis.call('ZREM', key('seen'), I)
  if redis.call('HDEL', key('workers'), I) + redis.call('HDEL', key('leaving'), I) > 0 then topology_changed({}, left) end
  return text_of(told.host), left
end

-- Whether a living worker announces a device; one of the release before stands in no index.
local function announced(D)
  if redis.call('SCARD', key('serving', D)) > 0 then return true end
  for _, text in ipairs(redis.call('HVALS', key('workers'))) do
    local devices = object(text).devices
    for _, one in ipairs(type(devices) == 'table' and devices or {}) do if one == D then return true end end
  end
  return false
end
