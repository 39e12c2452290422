-- Find the place of a message in the queue.
--
-- ARGV 4 channel, 5 id, 6 how many messages are searched at most, from the one that is claimed next
-- Returns how many messages are claimed before it; -1 if it is not among those.

local mq = mq_key(ARGV[4])
local index = call('LPOS', mq, ARGV[5], 'RANK', -1, 'MAXLEN', ARGV[6])
return index and call('LLEN', mq) - 1 - index or -1
