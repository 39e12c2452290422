-- Push messages into the queue; a message that is queued already only gets the new body.
--
-- ARGV 4 channel, 5 channel in YAML, 6 'LPUSH' (end) or 'RPUSH' (next), 7 '1' to revoke existing claims,
--      8.. id, id in YAML, body in YAML
-- Returns for each message 'pushed', 'queued' (was queued already) or 'running' (is queued when its claim is settled).

local channel, channel_yaml, side, take_over = ARGV[4], ARGV[5], ARGV[6], ARGV[7] == '1'
local mq = mq_key(channel)
-- Marks a message whose place in the queue is not its age (push_times.lua).
local urgent_fields = side == 'RPUSH' and {'x_next', 'true'} or {}

local states, pending, replies = {}, {}, {}

-- The running key that holds the message; nil for a status 'running' without a running key.
local function holding_key(id, state)
  if state.status ~= 'running' or state.claim == '' then return end
  for _, name in ipairs({channel, state.channel}) do
    local rkey = running_key(name, state.claim)
    if holds(rkey, id) then return rkey end
  end
end

local function refresh(id, body, ...)
  call('HDEL', item_key(id), 'cancel_flag', 'cancel_time')
  call('PERSIST', item_key(id))
  write(id, 'data', body, ...)
end

local function flush()
  if #pending > 0 then call(side, mq, unpack(pending)) end
  pending = {}
end

local function move_to_next(id)
  flush()
  call('LREM', mq, -1, id)
  call('RPUSH', mq, id)
end

local function enqueue(id, id_yaml, body)
  call('DEL', item_key(id), done_key(id))
  write(id, 'id', id_yaml, 'channel', channel_yaml, 'add_time', now, 'status', 'ready', 'data', body,
    unpack(urgent_fields))
  pending[#pending + 1] = id
end

local function is_listed_as(status) return status == 'ready' or status == 'canceling' end

local function push(id, id_yaml, body, listed)
  local state = states[id]
  local rkey = holding_key(id, state)
  if rkey and not take_over then
    refresh(id, body, 'x_repush', 'true')
    return 'running'
  end
  if is_listed_as(state.status) and listed[id] then
    refresh(id, body, 'status', 'ready', unpack(urgent_fields))
    if side == 'RPUSH' then move_to_next(id) end
    return 'queued'
  end
  if rkey then release(rkey) end
  enqueue(id, id_yaml, body)
  state.status, listed[id] = 'ready', true
  return 'pushed'
end

refuse_when_full()
local candidates = {}
for i = 8, #ARGV, 3 do
  local status, claim, old_channel = scalars(ARGV[i], 'status', 'running_id', 'channel')
  states[ARGV[i]] = {status = status, claim = claim, channel = old_channel}
  if is_listed_as(status) then candidates[#candidates + 1] = ARGV[i] end
end
local listed = waiting_among(mq, candidates)
for i = 8, #ARGV, 3 do
  replies[#replies + 1] = push(ARGV[i], ARGV[i + 1], ARGV[i + 2], listed)
end
flush()
return replies
