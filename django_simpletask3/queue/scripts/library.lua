-- Functions shared by all scripts; they follow base.lua, at the beginning of each of them.

-- What a client may have written: longer ids and bodies are dead letters, longer scalars count as missing.
local max_id, max_body, max_scalar = 4096, 65536, 1024

local function after(seconds) return string.format('%.6f', tonumber(now) + tonumber(seconds)) end
local function running_key(channel, claim) return prefix .. ':running:' .. channel .. ':' .. claim end

-- The sorted set of the waiting messages whose priority is not 0, and that of the messages that are due soon.
local function priority_key(channel) return prefix .. ':x:priority:' .. channel end
local function due_key(channel) return prefix .. ':x:due:' .. channel end

-- The channel and the claim of a running key; a channel may contain colons, a claim never does.
local function parts(rkey)
  if string.sub(rkey, 1, #prefix + 9) ~= prefix .. ':running:' then return end
  return string.match(string.sub(rkey, #prefix + 10), '^(.*):([^:]*)$')
end

-- A full server (noeviction) checks only the first write of a script. A script that frees memory begins
-- with a write that is always allowed; a script that needs memory begins with a write that is refused.
local function allow_when_full() call('ZREM', leases, '') end
local function refuse_when_full() call('ZADD', leases, 'XX', 0, '') end

-- Decode a word, number or UUID in YAML, written by a stock client ("ready\n...\n") or by this package.
local function scalar(value)
  return value and #value <= max_scalar and string.match(value, '^["\']?([^"\'\n]*)') or ''
end

-- Decode a counter; 0 for anything else.
local function counter(value)
  local number = tonumber(scalar(value)) or 0
  return number >= 0 and number < 1e9 and math.floor(number) or 0
end

-- Decode a priority; 0 for anything else.
local function priority_in(value)
  local number = tonumber(scalar(value)) or 0
  return number >= -100 and number <= 100 and math.floor(number) or 0
end

local function scalars(id, ...)
  local values = call('HMGET', item_key(id), ...)
  for i = 1, #values do values[i] = scalar(values[i]) end
  return unpack(values)
end

-- Encode a text as a double-quoted YAML scalar.
local function quote(text)
  text = string.gsub(text, '["\\%c\127]', function(c) return string.format('\\x%02x', string.byte(c)) end)
  text = string.gsub(text, '\194([\128-\159])', function(c) return string.format('\\x%02x', string.byte(c)) end)
  return '"' .. text .. '"'
end

local function write(id, ...) call('HSET', item_key(id), 'mod_time', now, ...) end

-- The blocking waits: a hash of running keys, each with the worker that waits there.
local waits = prefix .. ':x:waits'

local function release(rkey)
  call('DEL', rkey)
  call('ZREM', leases, rkey)
  call('HDEL', waits, rkey)
end

local function add_dead_letter(channel, letter)
  local dead = prefix .. ':x:dead:' .. channel
  call('LPUSH', dead, letter)
  call('LTRIM', dead, 0, 9999)
end

local function holds(rkey, id) return call('LINDEX', rkey, 0) == id end

-- The first six characters of the claim that ended a message: many finished messages are kept for days.
local function mark_of(claim) return string.sub(claim, 1, 6) end

-- Wake the clients that wait for the end of a message; set the expiry of message and event. A stock client pushes the
-- id, but no client reads the entry: a number saves 50 bytes per task until the event expires.
local function wake(id)
  call('LPUSH', done_key(id), 1)
  call('EXPIRE', done_key(id), event_expire)
  call('EXPIRE', item_key(id), item_expire)
end

-- End a message. Only its outcome is kept (the expiry shows the time). The hash is deleted and written again, since
-- a hash that has held a long body never becomes small again (test_a_finished_message_takes_360_bytes_at_most).
-- A running key given by the caller is deleted by the same command.
local function finish(id, rkey, status, result, ...)
  call('DEL', item_key(id), done_key(id), rkey or done_key(id))
  call('HSET', item_key(id), 'status', status, 'result', result, ...)
  wake(id)
end

-- Flag and id make a stock client skip an entry that is still in the queue
-- (test_a_stock_client_passes_over_an_entry_of_what_we_canceled).
local function finish_canceled(id, ...)
  finish(id, nil, 'canceled', 'null', 'id', quote(id), 'cancel_flag', 'true', ...)
end

local function is_final(status) return status == 'done' or status == 'drop' or status == 'canceled' end

-- Whether a message is flagged and was not pushed again since. The push of a stock client keeps an old flag
-- (claim.lua removes it, so that a flag on a running message is always current).
local function is_flagged(status, flag, cancel_time, add_time)
  if status == 'canceling' then return true end
  return flag == 'true' and (status == 'running' or (tonumber(cancel_time) or 0) >= (tonumber(add_time) or 0))
end

local function is_canceled(id)
  return is_flagged(scalars(id, 'status', 'cancel_flag', 'cancel_time', 'add_time'))
end

local function is_listed_as(status) return status == 'ready' or status == 'canceling' end

-- The channels in which this call has put messages into the sorted set, or left some there.
local crowded = {}

-- The score of the first ('RPUSH') or last place of a priority. The set is in the order of claims: each priority has
-- a range of scores, the highest priority the lowest, and counts up and down from the middle of its range.
local function place_of(key, priority, side)
  local first = -priority * 2 ^ 45
  local last = first + 2 ^ 45 - 1
  local low, high = string.format('%.0f', first), string.format('%.0f', last)
  local command, from, to, step = 'ZREVRANGEBYSCORE', high, low, 1
  if side == 'RPUSH' then command, from, to, step = 'ZRANGEBYSCORE', low, high, -1 end
  local edge = tonumber(call(command, key, from, to, 'WITHSCORES', 'LIMIT', 0, 1)[2])
  local place = edge and edge + step or first + 2 ^ 44
  return string.format('%.0f', math.max(first, math.min(place, last)))
end

-- Put a message into the queue: at the end ('LPUSH') or as the next to be claimed ('RPUSH') of its priority.
local function put(id, channel, side, priority)
  if priority == 0 then return call(side, mq_key(channel), id) end
  local key = priority_key(channel)
  call('ZADD', key, place_of(key, priority, side), id)
  crowded[channel] = true
end

local function has_waiting_worker(channel)
  for _, rkey in ipairs(call('HKEYS', waits)) do
    if parts(rkey) == channel then return true end
  end
end

-- Workers block on the list only: an entry of the list whose message waits in a sorted set wakes one, and nothing else.
local function wake_worker(channel, id)
  if call('LLEN', mq_key(channel)) == 0 and has_waiting_worker(channel) then call('LPUSH', mq_key(channel), id) end
end

-- Scripts that have put messages end with this. While messages wait in the sorted set and workers block, the list has
-- an entry, or one of them has taken it.
local function wake_workers()
  for channel in pairs(crowded) do
    local id = call('ZRANGE', priority_key(channel), 0, 0)[1]
    if id and #id <= max_id then wake_worker(channel, id) end
  end
end

-- Whether an entry of the list only wakes a worker: the message has a priority, or is due soon and was not pushed yet.
local function is_wake_up(channel, id, status)
  if call('ZSCORE', priority_key(channel), id) then return true end
  return not is_listed_as(status) and call('ZSCORE', due_key(channel), id) and true or false
end

-- How many entries of the list behind an index only wake a worker. They are among the last ones: one is added to an
-- empty list only.
local function count_wake_ups(channel, index)
  local mq, count = mq_key(channel), 0
  local start = math.max(call('LLEN', mq) - 10, index + 1)
  for _, id in ipairs(start >= 0 and call('LRANGE', mq, start, -1) or {}) do
    if is_wake_up(channel, id, (scalars(id, 'status'))) then count = count + 1 end
  end
  return count
end

-- The ids that are in the queue: a few are looked up one by one, many in one pass.
local function waiting_among(mq, ids)
  local found, wanted = {}, {}
  if #ids <= 4 then
    for _, id in ipairs(ids) do found[id] = call('LPOS', mq, id) and true or nil end
    return found
  end
  for _, id in ipairs(ids) do wanted[id] = true end
  for start = 0, call('LLEN', mq) - 1, 5000 do
    for _, id in ipairs(call('LRANGE', mq, start, start + 4999)) do
      if wanted[id] then found[id] = true end
    end
  end
  return found
end

-- Put a message back into the queue, at the end ('LPUSH') or as the next to be claimed ('RPUSH') of its priority.
local function requeue(id, channel, side)
  local priority = priority_in(call('HGET', item_key(id), 'x_priority'))
  call('HDEL', item_key(id), 'x_repush')
  write(id, 'status', 'ready', 'worker', 'null')
  call('PERSIST', item_key(id))
  put(id, channel, side, priority)
end

-- Return a claimed message to the queue; a message that was canceled meanwhile ends instead.
local function give_back(id, channel, side, reason)
  local retries = counter((scalars(id, 'retry_count')))
  local fields = {'return_flag', 'true', 'return_time', now, 'return_reason', reason, 'retry_count', retries + 1}
  if is_canceled(id) then
    finish_canceled(id, unpack(fields))
    return 'canceled'
  end
  write(id, unpack(fields))
  requeue(id, channel, side)
  return 'returned'
end
