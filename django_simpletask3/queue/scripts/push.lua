-- Push messages some of which Redis knows already, or urgent ones, or with priorities; push_new.lua, before this, has the
-- arguments and the reply.

local take_over = ARGV[7] == '1'

local states, pending, replies, priorities = {}, {}, {}, {}
for priority in string.gmatch(ARGV[8], '%S+') do priorities[#priorities + 1] = priority_in(priority) end

local function priority_fields(priority) return priority ~= 0 and {'x_priority', priority} or {} end

-- The fields that show where the message waits: x_next marks one whose place in the list is not its age
-- (push_times.lua).
local function place_fields(priority)
  return priority == 0 and side == 'RPUSH' and {'x_next', 'true'} or priority_fields(priority)
end

-- The running key that holds the message; nil for a status 'running' without a running key.
local function holding_key(id, state)
  if state.status ~= 'running' or state.claim == '' then return end
  for _, name in ipairs({channel, state.channel}) do
    local rkey = running_key(name, state.claim)
    if holds(rkey, id) then return rkey end
  end
end

local function refresh(id, body, ...)
  call('HDEL', item_key(id), 'cancel_flag', 'cancel_time', 'x_priority')
  call('PERSIST', item_key(id))
  write(id, 'data', body, ...)
end

local function flush()
  if #pending > 0 then call(side, mq, unpack(pending)) end
  pending = {}
end

-- Move a message that is queued: to the front, or to the end of another priority.
local function move(id, priority, old_priority)
  flush()
  if old_priority == 0 then call('LREM', mq, -1, id) end
  if priority == 0 then call('ZREM', priority_key(channel), id) end
  put(id, channel, side, priority)
end

local function enqueue(id, id_yaml, body, priority)
  call('DEL', item_key(id), done_key(id))
  create(item_key(id), id_yaml, body, unpack(place_fields(priority)))
  if priority == 0 then pending[#pending + 1] = id else put(id, channel, side, priority) end
end

local function push(id, id_yaml, body, priority, queued)
  local state = states[id]
  local rkey = holding_key(id, state)
  if rkey and not take_over then
    refresh(id, body, 'x_repush', 'true', unpack(priority_fields(priority)))
    return 'running'
  end
  if is_listed_as(state.status) and queued[id] then
    refresh(id, body, 'status', 'ready', unpack(place_fields(priority)))
    if side == 'RPUSH' or priority ~= state.priority then move(id, priority, state.priority) end
    state.priority = priority
    return 'queued'
  end
  if rkey then release(rkey) end
  enqueue(id, id_yaml, body, priority)
  state.status, state.priority, queued[id] = 'ready', priority, true
  return 'pushed'
end

-- The ids that are in the queue, by their states.
local function queued_ids()
  local listed, found = {}, {}
  for id, state in pairs(states) do
    if is_listed_as(state.status) and state.priority == 0 then listed[#listed + 1] = id end
    if is_listed_as(state.status) and state.priority ~= 0 then
      found[id] = call('ZSCORE', priority_key(channel), id) and true or nil
    end
  end
  for id in pairs(waiting_among(mq, listed)) do found[id] = true end
  return found
end

refuse_when_full()
for i = 9, #ARGV, 3 do
  local status, claim, old_channel, priority = scalars(ARGV[i], 'status', 'running_id', 'channel', 'x_priority')
  states[ARGV[i]] = {status = status, claim = claim, channel = old_channel, priority = priority_in(priority)}
end
local queued = queued_ids()
for i = 9, #ARGV, 3 do
  local priority = priorities[(i - 6) / 3] or 0
  replies[#replies + 1] = push(ARGV[i], ARGV[i + 1], ARGV[i + 2], priority, queued)
end
flush()
wake_workers()
return replies
