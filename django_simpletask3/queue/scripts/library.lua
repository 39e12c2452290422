-- The words every script is written in; put in front of each of them.
--
-- KEYS 1 the leases: a sorted set of running keys by deadline
-- ARGV 1 prefix, 2 seconds a done event lives, 3 seconds a finished message lives
--
-- A script is safe to send twice: which claim (running_id) has settled a message is remembered, in x_settled
-- while the message lives and in x_ when it is over; the same call for the same claim answers the same again.

local leases = KEYS[1]
local prefix, event_expire, item_expire = ARGV[1], ARGV[2], ARGV[3]
local clock = redis.call('TIME')
local now = clock[1] .. '.' .. string.format('%06d', clock[2])

local function after(seconds) return string.format('%.6f', tonumber(now) + tonumber(seconds)) end
local function item_key(id) return prefix .. ':item:' .. id end
local function done_key(id) return prefix .. ':done:' .. id end
local function mq_key(channel) return prefix .. ':mq:' .. channel end
local function running_key(channel, claim) return prefix .. ':running:' .. channel .. ':' .. claim end

-- The channel and the claim of a running key; a channel may contain colons, a claim never does.
local function parts(rkey)
  return string.match(string.sub(rkey, #prefix + 10), '^(.*):([^:]*)$')
end

-- A full server (noeviction) judges a script by its first write only. One that frees memory begins
-- with a write that is always allowed; one that needs memory begins with one that is refused.
local function allow_when_full() redis.call('ZREM', leases, '') end
local function refuse_when_full() redis.call('ZADD', leases, 'XX', 0, '') end

-- A word, number or uuid in YAML, whether a stock client wrote it ("ready\n...\n") or this one.
local function scalar(value)
  return value and string.match(value, '^["\']?([^"\'\n]*)') or ''
end

local function scalars(id, ...)
  local found = redis.call('HMGET', item_key(id), ...)
  for i = 1, #found do found[i] = scalar(found[i]) end
  return unpack(found)
end

-- A text as a double-quoted YAML scalar.
local function quote(text)
  text = string.gsub(text, '["\\%c\127]', function(c) return string.format('\\x%02x', string.byte(c)) end)
  text = string.gsub(text, '\194([\128-\159])', function(c) return string.format('\\x%02x', string.byte(c)) end)
  return '"' .. text .. '"'
end

local function write(id, ...) redis.call('HSET', item_key(id), 'mod_time', now, ...) end

-- Who waits for a message: a hash of running keys with the worker that lets one be moved there.
local waits = prefix .. ':x:waits'

local function release(rkey)
  redis.call('DEL', rkey)
  redis.call('ZREM', leases, rkey)
  redis.call('HDEL', waits, rkey)
end

local function holds(rkey, id) return redis.call('LINDEX', rkey, 0) == id end

-- The claim that ended a message, in six characters: a finished message is kept for days, and there are many.
local function mark_of(claim) return string.sub(claim, 1, 6) end

-- Whoever waits for the message wakes; message and event expire. A stock client pushes the id, and nobody reads
-- what is pushed: a number takes 50 bytes less, of each task for as long as the event lives.
local function wake(id)
  redis.call('LPUSH', done_key(id), 1)
  redis.call('EXPIRE', done_key(id), event_expire)
  redis.call('EXPIRE', item_key(id), item_expire)
end

-- A message is over. Only how it ended stays of it (when, its expiry tells); it is written anew, since a hash
-- that has once held a long body never gets small again (test_a_finished_message_takes_360_bytes_at_most).
-- The running key goes with it, if the caller names it; that saves a command.
local function finish(id, rkey, status, result, ...)
  redis.call('DEL', item_key(id), done_key(id), rkey or done_key(id))
  redis.call('HSET', item_key(id), 'status', status, 'result', result, ...)
  wake(id)
end

-- By its flag and id a stock client passes over an entry that is still in the queue
-- (test_a_stock_client_passes_over_an_entry_of_what_we_canceled).
local function finish_canceled(id, ...)
  finish(id, nil, 'canceled', 'null', 'id', quote(id), 'cancel_flag', 'true', ...)
end

local function is_final(status) return status == 'done' or status == 'drop' or status == 'canceled' end

-- Flagged, and not pushed again since then: the push of a stock client leaves an old flag behind
-- (a claim of ours does not, so that a flag on a running message is always meant).
local function is_flagged(status, flag, cancel_time, add_time)
  if status == 'canceling' then return true end
  return flag == 'true' and (status == 'running' or (tonumber(cancel_time) or 0) >= (tonumber(add_time) or 0))
end

local function is_canceled(id)
  return is_flagged(scalars(id, 'status', 'cancel_flag', 'cancel_time', 'add_time'))
end

-- Which of the ids are in the list: a few are looked up one by one, many in one pass.
local function waiting_among(mq, ids)
  local found, wanted = {}, {}
  if #ids <= 4 then
    for _, id in ipairs(ids) do found[id] = redis.call('LPOS', mq, id) and true or nil end
    return found
  end
  for _, id in ipairs(ids) do wanted[id] = true end
  for start = 0, redis.call('LLEN', mq) - 1, 5000 do
    for _, id in ipairs(redis.call('LRANGE', mq, start, start + 4999)) do
      if wanted[id] then found[id] = true end
    end
  end
  return found
end

-- Into the queue again, at the end ('LPUSH') or as the next to be taken ('RPUSH').
local function requeue(id, channel, side)
  redis.call('HDEL', item_key(id), 'x_repush')
  write(id, 'status', 'ready', 'worker', 'null')
  redis.call('PERSIST', item_key(id))
  redis.call(side, mq_key(channel), id)
end

-- A claimed message is given back; one that was canceled meanwhile ends here instead.
local function give_back(id, channel, side, reason)
  local retries = tonumber((scalars(id, 'retry_count'))) or 0
  local told = {'return_flag', 'true', 'return_time', now, 'return_reason', reason, 'retry_count', retries + 1}
  if is_canceled(id) then
    finish_canceled(id, unpack(told))
    return 'canceled'
  end
  write(id, unpack(told))
  requeue(id, channel, side)
  return 'returned'
end
