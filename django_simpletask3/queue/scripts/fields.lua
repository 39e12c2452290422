-- Read the fields of a hash; those that are too long are left out.
--
-- ARGV 4 key
-- Returns names and values in turn.

local found, all = {}, call('HGETALL', ARGV[4])
for i = 1, #all, 2 do
  if #all[i] <= max_scalar and #all[i + 1] <= max_body and #found < 200 then
    found[#found + 1] = all[i]
    found[#found + 1] = all[i + 1]
  end
end
return found
