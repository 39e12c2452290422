-- Tell the workers of a channel when tasks are due that have no message yet.
--
-- ARGV 4 channel, 5 seconds after which hints are forgotten, 6.. id, seconds until the task is due
--
-- A hint is rounded up to a tenth of a second: one is enough for all tasks that are due in it.

local channel, hints = ARGV[4], due_key(ARGV[4])
local first

local function add(id, seconds)
  local due = string.format('%.1f', math.ceil((tonumber(now) + seconds) * 10) / 10)
  if #call('ZRANGEBYSCORE', hints, due, due, 'LIMIT', 0, 1) == 0 then
    call('ZADD', hints, due, id)
    first = first or id
  end
end

refuse_when_full()
call('ZREMRANGEBYSCORE', hints, '-inf', now)
for i = 6, #ARGV, 2 do add(ARGV[i], tonumber(ARGV[i + 1])) end
call('EXPIRE', hints, ARGV[5])
if first then wake_worker(channel, first) end
