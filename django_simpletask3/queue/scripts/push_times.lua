-- Read when messages were pushed.
--
-- ARGV 4.. ids
-- Returns for each message the time of its push, in seconds as text, if it should be in the queue; else 1, or 0 if
-- Redis does not know it. The push time of an urgent message, or one in the future, does not show its place: 1.

local function push_time(id)
  local status, add_time, urgent = scalars(id, 'status', 'add_time', 'x_next')
  local time = tonumber(add_time)
  if (status == 'ready' or status == 'canceling') and urgent == '' and time and time <= tonumber(now) then
    return string.format('%.6f', time)
  end
  return call('EXISTS', item_key(id))
end

local replies = {}
for i = 4, #ARGV do replies[#replies + 1] = push_time(ARGV[i]) end
return replies
