-- Find the place of a message in the queue.
--
-- ARGV 4 channel, 5 id, 6 how many messages are searched at most, from the one that is claimed next
-- Returns how many messages are claimed before it; -1 if it is not among those.

local mq, limit = mq_key(ARGV[4]), tonumber(ARGV[6])

-- How many messages of priorities above 0 there are; and the place of the message in the sorted set, if it is there.
local function search_prioritized()
  local found, above = call('ZRANGE', priority_key(ARGV[4]), 0, limit - 1, 'WITHSCORES'), 0
  for i = 1, #found, 2 do
    if tonumber(found[i + 1]) < 0 then above = above + 1 end
    if found[i] == ARGV[5] then return above, (i - 1) / 2, tonumber(found[i + 1]) < 0 end
  end
  return above
end

local function place()
  local above, index, is_above = search_prioritized()
  if index then return is_above and index or index + call('LLEN', mq) end
  if above >= limit then return limit end
  local position = call('LPOS', mq, ARGV[5], 'RANK', -1, 'MAXLEN', limit - above)
  return position and above + call('LLEN', mq) - 1 - position or limit
end

local found = place()
return found < limit and found or -1
