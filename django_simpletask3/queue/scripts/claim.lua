-- Take messages out of the queue, each under a claim token of its own.
--
-- ARGV 4 channel, 5 worker, 6 worker in YAML, 7 seconds the worker's status lives, 8 seconds of the lease,
--      9 seconds for which a blocking move into the first token's running key is announced if nothing
--      was found (0: none), 10 the first token, a UUID, 11 how many messages at most
-- Returns for each message {id, token, body or false, attempt}.
--
-- A token whose running key holds a message already gets that one: after a blocking move, and when the
-- script is sent a second time because the answer was lost.

local channel, worker, worker_yaml = ARGV[4], ARGV[5], ARGV[6]
local mq = mq_key(channel)
local deadline = after(ARGV[8])
local skips = 1000  -- stale entries passed over in one go; the next call goes on

local function announce_worker()
  local key = prefix .. ':worker:' .. worker
  if redis.call('EXISTS', key) == 1 then return end
  redis.call('HSET', key, 'worker', worker_yaml, 'start_time', now, 'update_time', now)
  redis.call('EXPIRE', key, ARGV[7])
end

-- The tokens after the first: its neighbors, which nobody else is given. Made here, as a hundred of them take
-- longer to send than to make.
local first = ARGV[10]
local number, rest = tonumber(string.sub(first, 1, 3), 16), string.sub(first, 4)
local function token_at(place)
  return place == 1 and first or string.format('%03x', (number + place - 1) % 4096) .. rest
end

-- A blocking move that a client sent twice leaves two ids in one running key: the surplus goes back.
local function moved(rkey)
  local ids = redis.call('LRANGE', rkey, 0, -1)
  if #ids == 0 then return end
  redis.call('HDEL', waits, rkey)
  for i = 2, #ids do redis.call('RPUSH', mq, ids[i]) end
  if #ids > 1 then redis.call('LTRIM', rkey, 0, 0) end
  return ids[1]
end

-- All that is to be known of a message, in one look; false for what it does not say.
local names = {'status', 'running_id', 'data', 'x_attempt', 'id', 'channel', 'add_time',
  'cancel_flag', 'cancel_time', 'x_repush', 'result'}
local function look(id)
  local found, said = redis.call('HMGET', item_key(id), unpack(names)), {}
  for i, name in ipairs(names) do said[name] = found[i] end
  return said
end

-- What a former life or claim left behind: an expiry comes with a result or a claim, whoever set it.
local function forget(id, said)
  if not (said.running_id or said.result or said.cancel_flag or said.cancel_time or said.x_repush) then return end
  redis.call('PERSIST', item_key(id))
  redis.call('HDEL', item_key(id), 'x_', 'x_repush', 'cancel_flag', 'cancel_time')
end

local function begin(id, token, said)
  said.x_attempt = tostring((tonumber(scalar(said.x_attempt)) or 0) + 1)
  local more = {}
  for name, value in pairs({id = quote(id), channel = quote(channel), add_time = now}) do
    if not said[name] then
      more[#more + 1] = name
      more[#more + 1] = value
    end
  end
  forget(id, said)
  write(id, 'status', 'running', 'running_id', token, 'x_claim', token,
    'x_attempt', said.x_attempt, 'start_time', now, 'worker', worker_yaml, unpack(more))
end

-- What to do with an id: 'begin' it, 'repeat' an answer, or 'skip' an entry that means nothing any more.
local function verdict(id, token, said)
  local status, claim = scalar(said.status), scalar(said.running_id)
  if status == 'running' and claim == token then return 'repeat' end
  if is_final(status) then return 'skip' end
  if status == 'running' and holds(running_key(channel, claim), id) then return 'skip' end
  if is_flagged(status, scalar(said.cancel_flag), scalar(said.cancel_time), scalar(said.add_time)) then
    finish_canceled(id)
    return 'skip'
  end
  return 'begin'
end

local limit = tonumber(ARGV[11])

-- Whether any of the tokens holds a message already: mostly none does, and no running key has to be looked into.
local function are_held()
  local rkeys, head = {}, running_key(channel, '')
  for place = 1, limit do rkeys[place] = head .. token_at(place) end
  return redis.call('EXISTS', unpack(rkeys)) > 0
end

local function take(token, may_hold)
  local rkey = running_key(channel, token)
  local id = may_hold and moved(rkey)
  while skips > 0 do
    local held = id
    id = id or redis.call('RPOP', mq)
    if not id then return end
    local said = look(id)
    local what = verdict(id, token, said)
    if what ~= 'skip' then
      if not held then redis.call('LPUSH', rkey, id) end
      if what == 'begin' then begin(id, token, said) end
      redis.call('ZADD', leases, deadline, rkey)
      return {id, token, said.data, said.x_attempt}
    end
    if held then release(rkey) end
    id, skips = nil, skips - 1
  end
end

-- If nothing came, the first token's running key waits for a blocking move, or for nothing any more.
local function announce_wait()
  local rkey = running_key(channel, ARGV[10])
  if tonumber(ARGV[9]) > 0 then
    redis.call('ZADD', leases, after(ARGV[9]), rkey)
    redis.call('HSET', waits, rkey, worker)
  else
    redis.call('ZREM', leases, rkey)
    redis.call('HDEL', waits, rkey)
  end
end

-- The first write takes something away, which a full server allows.
local claimed, may_hold = {}, are_held()
for place = 1, limit do
  local row = take(token_at(place), may_hold)
  if not row then break end
  claimed[#claimed + 1] = row
end
if #claimed > 0 then announce_worker() else announce_wait() end
return claimed
