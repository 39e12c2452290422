-- Push messages into the queue; a message that is queued already only gets the new body.
--
-- ARGV 4 channel, 5 channel in YAML, 6 'LPUSH' (end) or 'RPUSH' (next), 7 '1' to revoke existing claims,
--      8 the priorities of the messages, separated by spaces; '' if all are 0, 9.. id, id in YAML, body in YAML
-- Returns for each message 'pushed', 'queued' (was queued already) or 'running' (is queued when its claim is settled).

local channel, channel_yaml, side = ARGV[4], ARGV[5], ARGV[6]
local mq = mq_key(channel)

local function create(key, id_yaml, body, ...)
  call('HSET', key, 'mod_time', now, 'id', id_yaml, 'channel', channel_yaml, 'add_time', now,
    'status', 'ready', 'data', body, ...)
end

-- Most messages are of new tasks: Redis knows none of their ids, and what library.lua and push.lua are for is not needed.
-- To create these functions would take longer than all else.
local function push_new()
  if side ~= 'LPUSH' or ARGV[8] ~= '' then return end
  local ids, keys, given, replies = {}, {}, {}, {}
  for i = 9, #ARGV, 3 do
    local id = ARGV[i]
    if given[id] then return end
    given[id] = true
    ids[#ids + 1], replies[#replies + 1] = id, 'pushed'
    keys[#keys + 1] = item_key(id)
    keys[#keys + 1] = done_key(id)
  end
  if #ids == 0 or call('EXISTS', unpack(keys)) > 0 then return end
  for n = 1, #ids do create(keys[2 * n - 1], ARGV[3 * n + 7], ARGV[3 * n + 8]) end
  call('LPUSH', mq, unpack(ids))
  return replies
end

local replies_of_new = push_new()
if replies_of_new then return replies_of_new end
