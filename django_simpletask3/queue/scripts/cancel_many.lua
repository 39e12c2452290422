-- Cancel messages: remove them from the queue and revoke their claims.
--
-- ARGV 4 channel, 5.. ids
-- Returns the number canceled; a finished message does not change.
--
-- If the queue is so long that a search would block the server, the entry stays and a claim skips it.

local channel = ARGV[4]
local mq = mq_key(channel)
local is_shallow = call('LLEN', mq) * (#ARGV - 4) <= 1000000

local function cancel(id)
  local status, claim = scalars(id, 'status', 'running_id')
  if is_shallow then call('LREM', mq, 0, id) end
  if claim ~= '' then release(running_key(channel, claim)) end
  if is_final(status) then return 0 end
  if is_shallow then finish(id, nil, 'canceled', 'null') else finish_canceled(id) end
  return 1
end

allow_when_full()
call('ZREM', priority_key(channel), unpack(ARGV, 5))
local canceled = 0
for i = 5, #ARGV do canceled = canceled + cancel(ARGV[i]) end
return canceled
