-- Ask which messages Redis knows at all.
--
-- ARGV 4.. ids
-- Returns for each when it was pushed, in seconds, if it should be waiting for its turn; else 1, or 0 if it is not
-- known. An urgent one has no turn, nor has one that says that it was pushed in the future.

local function told(id)
  local status, added, urgent = scalars(id, 'status', 'add_time', 'x_next')
  local time = tonumber(added)
  if (status == 'ready' or status == 'canceling') and urgent == '' and time and time <= tonumber(now) then
    return string.format('%.6f', time)
  end
  return redis.call('EXISTS', item_key(id))
end

local known = {}
for i = 4, #ARGV do known[#known + 1] = told(ARGV[i]) end
return known
