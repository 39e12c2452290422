-- Read when messages were pushed.
--
-- ARGV 4 channel, 5.. ids
-- Returns for each message the time of its push, in seconds as text, if it should be in the list; 2 if it waits with its
-- priority; else 1, or 0 if Redis does not know it. The push time of an urgent message, or one in the future, does not
-- show its place: 1.

local prioritized = priority_key(ARGV[4])

local function push_time(id)
  local status, add_time, urgent, priority = scalars(id, 'status', 'add_time', 'x_next', 'x_priority')
  if is_listed_as(status) and priority ~= '' and call('ZSCORE', prioritized, id) then return 2 end
  local time = tonumber(add_time)
  if is_listed_as(status) and urgent == '' and time and time <= tonumber(now) then
    return string.format('%.6f', time)
  end
  return call('EXISTS', item_key(id))
end

local replies = {}
for i = 5, #ARGV do replies[#replies + 1] = push_time(ARGV[i]) end
return replies
