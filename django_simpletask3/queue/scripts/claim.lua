-- Claim messages from the queue, each under a token of its own.
--
-- ARGV 4 channel, 5 worker, 6 worker in YAML, 7 seconds the worker's status lives, 8 seconds of the lease,
--      9 seconds for which a blocking move into the first token's running key is registered if the queue
--      is empty (0: any registration ends; '': there is none), 10 the first token, a UUID,
--      11 the maximal number of messages
-- Returns {messages, seconds}. For each message {id, token, body or false, attempt, length of the body, priority}; of a
-- body that is too long only its beginning. An id that is too long becomes a dead letter at once. The seconds are those
-- until tasks are due of which a hint was pushed, as texts, the soonest first.
--
-- Messages of a priority above 0 are claimed first, then those of the list, then those of a priority below 0.
--
-- A token whose running key holds a message already gets that message: after a blocking move, and when the
-- script is sent again because the reply was lost.

local channel, worker, worker_yaml = ARGV[4], ARGV[5], ARGV[6]
local mq, prioritized, hints = mq_key(channel), priority_key(channel), due_key(channel)
local deadline = after(ARGV[8])
local skips = 1000  -- stale entries skipped in one call; the next call continues

local function register_worker()
  local key = prefix .. ':worker:' .. worker
  if call('EXISTS', key) == 1 then return end
  call('HSET', key, 'worker', worker_yaml, 'start_time', now, 'update_time', now)
  call('EXPIRE', key, ARGV[7])
end

-- The tokens after the first are derived from it, and no other claim uses them. They are computed here, since
-- sending a hundred of them takes longer.
local first = ARGV[10]
local number, rest = tonumber(string.sub(first, 1, 3), 16), string.sub(first, 4)
local function token_at(index)
  return index == 1 and first or string.format('%03x', (number + index - 1) % 4096) .. rest
end

-- Whether the first token may have a registration that has not ended yet.
local may_be_registered = ARGV[9] ~= ''

-- The message that a blocking move put into a running key. A move that a client sent twice leaves two ids there:
-- the second returns to the queue.
local function take_moved(rkey)
  local ids = call('LRANGE', rkey, 0, -1)
  if #ids == 0 then return end
  call('HDEL', waits, rkey)
  may_be_registered = false
  for i = 2, #ids do call('RPUSH', mq, ids[i]) end
  if #ids > 1 then call('LTRIM', rkey, 0, 0) end
  return ids[1]
end

-- Read the fields of a message in one command; false for a missing field.
local field_names = {'status', 'running_id', 'data', 'x_attempt', 'id', 'channel', 'add_time',
  'cancel_flag', 'cancel_time', 'x_repush', 'result', 'x_priority'}
local function read_fields(id)
  local values, fields = call('HMGET', item_key(id), unpack(field_names)), {}
  for i, name in ipairs(field_names) do fields[name] = values[i] end
  return fields
end

-- Remove what an earlier push or claim of this id left. A hash expires only if it has a result or a claim.
local function clear_leftovers(id, fields)
  if not (fields.running_id or fields.result or fields.cancel_flag or fields.cancel_time or fields.x_repush) then
    return
  end
  call('PERSIST', item_key(id))
  call('HDEL', item_key(id), 'x_', 'x_repush', 'cancel_flag', 'cancel_time')
end

local function start(id, token, fields)
  fields.x_attempt = counter(fields.x_attempt) + 1
  local missing = {}
  for name, value in pairs({id = quote(id), channel = quote(channel), add_time = now}) do
    if not fields[name] then
      missing[#missing + 1] = name
      missing[#missing + 1] = value
    end
  end
  clear_leftovers(id, fields)
  write(id, 'status', 'running', 'running_id', token, 'x_claim', token,
    'x_attempt', fields.x_attempt, 'start_time', now, 'worker', worker_yaml, unpack(missing))
end

local function set_aside(id)
  local head = string.gsub(string.sub(id, 1, 200), '[^%w%p ]', '?')
  local reason = 'the id of the message has ' .. #id .. ' bytes'
  add_dead_letter(channel, cjson.encode({id = head, channel = channel, reason = reason, time = tonumber(now)}))
end

-- Whether there are prioritized messages or hints of due tasks, and whether any of the tokens holds a message already.
-- Mostly there is nothing of all that: then none of these keys has to be read.
local limit, has_more, may_hold = tonumber(ARGV[11]), false, false

local function look()
  local keys, head = {prioritized, hints}, running_key(channel, '')
  for index = 1, limit do keys[index + 2] = head .. token_at(index) end
  local found = call('EXISTS', unpack(keys))
  if found == 0 then return end
  local more = call('EXISTS', prioritized, hints)
  has_more, may_hold = more > 0, found > more
end

-- The action for an id: 'start' it, 'repeat' an earlier reply, or 'skip' a stale entry.
local function action_for(id, token, fields, is_listed)
  local status, claim = scalar(fields.status), scalar(fields.running_id)
  if status == 'running' and claim == token then return 'repeat' end
  if is_final(status) or (is_listed and has_more and is_wake_up(channel, id, status)) then return 'skip' end
  if status == 'running' and holds(running_key(channel, claim), id) then return 'skip' end
  if is_flagged(status, scalar(fields.cancel_flag), scalar(fields.cancel_time), scalar(fields.add_time)) then
    finish_canceled(id)
    return 'skip'
  end
  return 'start'
end

local function row_of(id, token, fields)
  local body = fields.data
  local length = body and #body or 0
  if length > max_body then body = string.sub(body, 1, max_scalar) end
  return {id, token, body, counter(tostring(fields.x_attempt)), length, priority_in(fields.x_priority)}
end

-- Remove and return the first of the prioritized messages, if its priority is above 0 or ``is_any`` is given.
local function next_prioritized(is_any)
  local first = has_more and call('ZRANGE', prioritized, 0, 0, 'WITHSCORES') or {}
  if not first[1] or not (is_any or tonumber(first[2]) < 0) then return end
  call('ZREM', prioritized, first[1])
  return first[1]
end

-- Remove and return the next message, and whether it was in the list.
local function next_id()
  local id = next_prioritized(false)
  if id then return id, false end
  id = call('RPOP', mq)
  if id then return id, true end
  return next_prioritized(true), false
end

local function take(token)
  local rkey = running_key(channel, token)
  local id, is_listed = may_hold and take_moved(rkey), true
  while skips > 0 do
    local is_held = id
    if not is_held then id, is_listed = next_id() end
    if not id then return end
    local is_long = #id > max_id
    local fields = is_long and {} or read_fields(id)
    local action = is_long and 'skip' or action_for(id, token, fields, is_listed)
    if is_long then set_aside(id) end
    if action ~= 'skip' then
      if not is_held then call('LPUSH', rkey, id) end
      if action == 'start' then start(id, token, fields) end
      call('ZADD', leases, deadline, rkey)
      return row_of(id, token, fields)
    end
    if is_held then release(rkey) end
    id, skips = nil, skips - 1
  end
end

-- Register a blocking move into the first token's running key, or end the registration.
local function register_wait()
  local rkey = running_key(channel, first)
  if tonumber(ARGV[9]) > 0 then
    call('ZADD', leases, after(ARGV[9]), rkey)
    call('HSET', waits, rkey, worker)
  else
    call('ZREM', leases, rkey)
    call('HDEL', waits, rkey)
  end
end

-- The seconds until the tasks are due of which a hint was pushed.
local function seconds_until_due()
  local seconds = {}
  local found = has_more and call('ZRANGEBYSCORE', hints, now, '+inf', 'WITHSCORES', 'LIMIT', 0, 100) or {}
  for i = 2, #found, 2 do seconds[#seconds + 1] = string.format('%.3f', tonumber(found[i]) - tonumber(now)) end
  return seconds
end

-- The first write removes data, which a full server allows.
local claimed = {}
look()
for index = 1, limit do
  local row = take(token_at(index))
  if not row then break end
  claimed[#claimed + 1] = row
end
if #claimed > 0 then
  register_worker()
  if may_be_registered then call('HDEL', waits, running_key(channel, first)) end
elseif ARGV[9] ~= '' then
  register_wait()
end
if has_more then
  crowded[channel] = true
  wake_workers()
end
return {claimed, seconds_until_due()}
