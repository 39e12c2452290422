-- Take messages out of the queue, one for each claim token.
--
-- ARGV 4 channel, 5 worker, 6 worker in YAML, 7 seconds the worker's status lives, 8 seconds of the lease,
--      9 seconds for which a blocking move into the first token's running key is announced if nothing
--      was found (0: none), 10.. claim tokens
-- Returns for each message {id, token, body or false, attempt}.
--
-- A token whose running key holds a message already gets that one: after a blocking move, and when the
-- script is sent a second time because the answer was lost.

local channel, worker, worker_yaml = ARGV[4], ARGV[5], ARGV[6]
local mq = mq_key(channel)
local skips = 1000  -- stale entries passed over in one go; the next call goes on

local function announce_worker()
  local key = prefix .. ':worker:' .. worker
  if redis.call('EXISTS', key) == 1 then return end
  redis.call('HSET', key, 'worker', worker_yaml, 'start_time', now, 'update_time', now)
  redis.call('EXPIRE', key, ARGV[7])
end

-- A blocking move that a client sent twice leaves two ids in one running key: the surplus goes back.
local function moved(rkey)
  local ids = redis.call('LRANGE', rkey, 0, -1)
  for i = 2, #ids do redis.call('RPUSH', mq, ids[i]) end
  if #ids > 1 then redis.call('LTRIM', rkey, 0, 0) end
  return ids[1]
end

local function begin(id, token)
  local attempt = (tonumber((scalars(id, 'x_attempt'))) or 0) + 1
  redis.call('PERSIST', item_key(id))
  redis.call('HSETNX', item_key(id), 'id', quote(id))
  redis.call('HSETNX', item_key(id), 'channel', quote(channel))
  redis.call('HSETNX', item_key(id), 'add_time', now)
  redis.call('HDEL', item_key(id), 'x_repush', 'cancel_flag', 'cancel_time')
  write(id, 'status', 'running', 'running_id', token, 'x_claim', token,
    'x_attempt', attempt, 'start_time', now, 'worker', worker_yaml)
end

-- What to do with an id: 'begin' it, 'repeat' an answer, or 'skip' an entry that means nothing any more.
local function verdict(id, token)
  local status, claim = scalars(id, 'status', 'running_id')
  if status == 'running' and claim == token then return 'repeat' end
  if is_final(status) then return 'skip' end
  if status == 'running' and holds(running_key(channel, claim), id) then return 'skip' end
  if is_canceled(id) then
    finish_canceled(id)
    return 'skip'
  end
  return 'begin'
end

local function take(token)
  local rkey = running_key(channel, token)
  local id = moved(rkey)
  while skips > 0 do
    local held = id
    id = id or redis.call('RPOP', mq)
    if not id then return end
    local what = verdict(id, token)
    if what ~= 'skip' then
      if not held then redis.call('LPUSH', rkey, id) end
      if what == 'begin' then begin(id, token) end
      redis.call('ZADD', leases, after(ARGV[8]), rkey)
      if held then redis.call('HDEL', waits, rkey) end
      return id
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

allow_when_full()
local claimed = {}
for i = 10, #ARGV do
  local id = take(ARGV[i])
  if not id then break end
  local found = redis.call('HMGET', item_key(id), 'data', 'x_attempt')
  claimed[#claimed + 1] = {id, ARGV[i], found[1], found[2]}
end
if #claimed > 0 then announce_worker() else announce_wait() end
return claimed
