-- List the workers that have reported recently.
--
-- ARGV 4 maximal number
-- Returns for each worker {name, seconds since its report, report in YAML}, the newest first.

local rows = {}
local names = redis.call('ZREVRANGE', prefix .. ':x:workers', 0, ARGV[4] - 1, 'WITHSCORES')
for i = 1, #names, 2 do
  local report = redis.call('HGET', prefix .. ':worker:' .. names[i], 'x_report')
  if report then
    rows[#rows + 1] = {names[i], string.format('%.3f', tonumber(now) - tonumber(names[i + 1])), report}
  end
end
return rows
