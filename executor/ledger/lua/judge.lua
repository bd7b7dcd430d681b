-- needs the prelude of the fleet
-- What is thought of devices. ARGV: device, the state that its judge has in mind, the new health as a JSON object, ...
-- Compare and set: two who judge write no change twice. Answers the devices of which somebody else thought otherwise.
local usable = { healthy = true, degraded = true }

local function by_resource(list)
  local found = {}
  for _, one in ipairs(type(list) == 'table' and list or {}) do
    if type(one) == 'table' and type(one.resource) == 'string' then found[one.resource] = one end
  end
  return found
end

local others = {}
for i = 1, #ARGV, 3 do
  local D, before, text = ARGV[i], object(redis.call('HGET', key('health'), ARGV[i])), ARGV[i + 2]
  local now, was = object(text), text_of(before.state)
  if was ~= ARGV[i + 1] then
    others[#others + 1] = D
  else
    local since = was == now.state and tonumber(before.since_ms) or NOW
    redis.call('HSET', key('health'), D, string.sub(text, 1, -2) .. ',"since_ms":' .. string.format('%.0f', since) .. '}')
    local said = '"device":' .. q(D) .. ',"state":' .. q(now.state) .. ',"reasons":' ..
      array(type(now.reasons) == 'table' and now.reasons or {})
    if usable[now.state] and not usable[was] then tell('distributed:device:available', said) end
    if usable[was] and not usable[now.state] then tell('distributed:device:unavailable', said) end
    local short, shorter = by_resource(before.depleted), by_resource(now.depleted)
    for _, resource in ipairs({ 'cpu', 'memory', 'disk' }) do
      local one = shorter[resource]
      if one and not short[resource] then
        tell('system:resource:depleted', '"device":' .. q(D) .. ',"resource":' .. q(resource) .. ',"percent":' ..
          q(one.percent) .. ',"threshold":' .. q(one.threshold))
      elseif short[resource] and not one and now.state ~= 'unknown' then
        tell('system:resource:available', '"device":' .. q(D) .. ',"resource":' .. q(resource))
      end
    end
  end
end
return answer('ok', others)
