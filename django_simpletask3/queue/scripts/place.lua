-- Find the place of a message in the queue.
--
-- ARGV 4 channel, 5 id, 6 how many messages are searched at most, from the one that is claimed next
-- Returns how many messages are claimed before it; -1 if it is not among those.

local channel, wanted, limit = ARGV[4], ARGV[5], tonumber(ARGV[6])
local mq = mq_key(channel)

-- How many messages of priorities above 0 there are; and the place of the message in the sorted set, if it is there.
local function search_prioritized()
  local found, above = call('ZRANGE', priority_key(channel), 0, limit - 1, 'WITHSCORES'), 0
  for i = 1, #found, 2 do
    if tonumber(found[i + 1]) < 0 then above = above + 1 end
    if found[i] == wanted then return above, (i - 1) / 2, tonumber(found[i + 1]) < 0 end
  end
  return above
end

-- How many messages of the list are claimed before the one at ``index``.
local function count_behind(index) return call('LLEN', mq) - 1 - index - count_wake_ups(channel, index) end

local function place()
  local above, index, is_above = search_prioritized()
  if index then return is_above and index or index + count_behind(-1) end
  if above >= limit then return limit end
  local wake_ups = count_wake_ups(channel, -1)
  local position = call('LPOS', mq, wanted, 'RANK', -1, 'MAXLEN', limit - above + wake_ups)
  if not position or is_wake_up(channel, wanted, (scalars(wanted, 'status'))) then return limit end
  return above + count_behind(position)
end

local found = place()
return found < limit and found or -1
