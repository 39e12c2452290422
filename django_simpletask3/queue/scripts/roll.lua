-- Who has reported lately.
--
-- ARGV 4 most workers
-- Returns for each worker {name, seconds since its report, report in YAML}, the newest first.

local found = {}
local names = redis.call('ZREVRANGE', prefix .. ':x:workers', 0, ARGV[4] - 1, 'WITHSCORES')
for i = 1, #names, 2 do
  local report = redis.call('HGET', prefix .. ':worker:' .. names[i], 'x_report')
  if report then
    found[#found + 1] = {names[i], string.format('%.3f', tonumber(now) - tonumber(names[i + 1])), report}
  end
end
return found
