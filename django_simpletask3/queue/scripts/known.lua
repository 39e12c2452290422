-- Ask which messages Redis knows at all.
--
-- ARGV 4.. ids
-- Returns for each when it was pushed, in seconds, if it should be waiting; else 1, or 0 if it is not known.

local function told(id)
  local status, added = scalars(id, 'status', 'add_time')
  if (status == 'ready' or status == 'canceling') and tonumber(added) then
    return string.format('%.6f', tonumber(added))
  end
  return redis.call('EXISTS', item_key(id))
end

local known = {}
for i = 4, #ARGV do known[#known + 1] = told(ARGV[i]) end
return known
