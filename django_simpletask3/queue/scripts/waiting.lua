-- Count the waiting messages of a channel.
--
-- ARGV 4 channel
-- Returns the number, without entries of the list that only wake a worker.

local channel = ARGV[4]
local count = call('LLEN', mq_key(channel))
if count > 0 then count = count - count_wake_ups(channel, -1) end
return count + call('ZCARD', priority_key(channel))
