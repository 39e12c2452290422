-- Take messages out of the queue, or from whoever holds them.
--
-- ARGV 4 channel, 5.. ids
-- Returns how many were withdrawn; a finished one stays as it is.
--
-- In a queue so deep that searching it would hold up the server the entry stays: a claim passes over it.

local channel = ARGV[4]
local mq = mq_key(channel)
local is_shallow = redis.call('LLEN', mq) * (#ARGV - 4) <= 1000000

local function withdraw(id)
  local status, claim = scalars(id, 'status', 'running_id')
  if is_shallow then redis.call('LREM', mq, 0, id) end
  if claim ~= '' then release(running_key(channel, claim)) end
  if is_final(status) then return 0 end
  if is_shallow then finish(id, nil, 'canceled', 'null') else finish_canceled(id) end
  return 1
end

allow_when_full()
local withdrawn = 0
for i = 5, #ARGV do withdrawn = withdrawn + withdraw(ARGV[i]) end
return withdrawn
