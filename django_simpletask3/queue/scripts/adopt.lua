-- Add a lease of the running timeout to running keys without a lease (stock clients create them).
--
-- ARGV 4 JSON {"default": {"running_timeout"}, "channels": {channel: {"running_timeout"}}}, 5.. running keys
-- Returns the number of leases added.

local policies = cjson.decode(ARGV[4])

local function timeout(channel)
  local own = policies.channels[channel]
  return own and own.running_timeout or policies.default.running_timeout
end

allow_when_full()
local adopted = 0
for i = 5, #ARGV do
  local channel = parts(ARGV[i])
  if channel and call('LLEN', ARGV[i]) > 0 then
    adopted = adopted + call('ZADD', leases, 'NX', after(timeout(channel)), ARGV[i])
  end
end
return adopted
