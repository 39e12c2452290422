-- Count the messages of a channel that are held under a lease.
--
-- ARGV 4 channel
-- Returns the number.

local count = 0
for _, rkey in ipairs(call('ZRANGE', leases, 0, -1)) do
  if parts(rkey) == ARGV[4] then count = count + call('EXISTS', rkey) end
end
return count
