-- Count the waiting messages of a channel.
--
-- ARGV 4 channel
-- Returns the number. An entry of the list that only wakes a worker is at its end, if no worker has taken it yet.

local channel = ARGV[4]
local mq = mq_key(channel)
local count, prioritized = call('LLEN', mq), call('ZCARD', priority_key(channel))
for _, id in ipairs(count > 0 and call('LRANGE', mq, -10, -1) or {}) do
  if is_wake_up(channel, id, (scalars(id, 'status'))) then count = count - 1 end
end
return count + prioritized
