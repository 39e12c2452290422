-- Ask which messages Redis knows at all.
--
-- ARGV 4.. ids
-- Returns 1 or 0 for each.

local known = {}
for i = 4, #ARGV do known[#known + 1] = redis.call('EXISTS', item_key(ARGV[i])) end
return known
