-- Read dead letters of a channel.
--
-- ARGV 4 channel, 5 index of the first, 6 index of the last, as those of LRANGE
-- Returns for each {letter, its length}; of a letter that is too long only the beginning.

local key = prefix .. ':x:dead:' .. ARGV[4]
local first, last, length = tonumber(ARGV[5]), tonumber(ARGV[6]), call('LLEN', key)
if first < 0 then first = math.max(0, length + first) end
if last < 0 then last = length + last end
local rows = {}
-- One by one: any of them may be as long as Redis allows.
for index = first, math.min(last, length - 1) do
  local letter = call('LINDEX', key, index)
  rows[#rows + 1] = {#letter > max_body and string.sub(letter, 1, max_scalar) or letter, #letter}
end
return rows
