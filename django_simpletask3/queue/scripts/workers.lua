-- List the workers that have reported recently.
--
-- ARGV 4 maximal number, 5 seconds until a report expires
-- Returns for each worker {name, seconds since its report, report in YAML, or '' if it is too long}, the newest first.
-- A time that no living worker can have reported does not count: it would stay on top for ever.

local expire = tonumber(ARGV[5])
local newest, oldest = tonumber(now) + expire, tonumber(now) - expire
local rows = {}
local names = call('ZREVRANGEBYSCORE', prefix .. ':x:workers', newest, oldest, 'WITHSCORES', 'LIMIT', 0, ARGV[4])
for i = 1, #names, 2 do
  local report = call('HGET', prefix .. ':worker:' .. names[i], 'x_report')
  if report and #names[i] <= max_scalar then
    if #report > max_body then report = '' end
    rows[#rows + 1] = {names[i], string.format('%.3f', tonumber(now) - tonumber(names[i + 1])), report}
  end
end
return rows
