-- Recover the claims whose lease has expired.
--
-- ARGV 4 maximal number, 5 reason in YAML, 6 channel ('' for all),
--      7 JSON {"default": {"running_timeout", "action"}, "channels": {channel: the same, in part}}
-- Returns {examined, returned, dropped, canceled, kept, cleared}.

local reason, only = ARGV[5], ARGV[6]
local policies = cjson.decode(ARGV[7])
local counts = {returned = 0, dropped = 0, canceled = 0, kept = 0, cleared = 0}

local function policy(channel, name)
  local own = policies.channels[channel]
  return own and own[name] or policies.default[name]
end

-- A stock worker renews no lease, but it may still report itself alive.
local function is_living_stock_worker(id, claim)
  local claimed_by_us, worker = scalars(id, 'x_claim', 'worker')
  return claimed_by_us ~= claim and call('EXISTS', prefix .. ':worker:' .. worker) == 1
end

-- Apply the channel's policy; a message that was pushed again meanwhile is queued, not dropped.
local function apply_policy(id, channel, claim)
  if policy(channel, 'action') ~= 'drop' then return give_back(id, channel, 'LPUSH', reason) end
  if (scalars(id, 'x_repush')) == 'true' then
    requeue(id, channel, 'LPUSH')
  else
    finish(id, nil, 'drop', 'null', 'x_', mark_of(claim))
  end
  return 'dropped'
end

-- Set the expiry and the done event that a stock client did not write before it died.
local function complete(id)
  call('DEL', done_key(id))
  wake(id)
end

-- Recover a message that was moved into a running key but never started.
local function recover_unstarted(id, channel, status)
  if is_wake_up(channel, id, status) then return 'cleared' end
  if call('LPOS', mq_key(channel), id) then return 'cleared' end
  if is_canceled(id) then
    finish_canceled(id)
    return 'canceled'
  end
  call('RPUSH', mq_key(channel), id)
  return 'returned'
end

local function recover_message(id, channel, claim)
  local status, holder = scalars(id, 'status', 'running_id')
  if status == 'running' and holder == claim then
    if is_living_stock_worker(id, claim) then return 'kept' end
    return apply_policy(id, channel, claim)
  end
  if status == '' or status == 'ready' or status == 'canceling' then return recover_unstarted(id, channel, status) end
  if is_final(status) and call('TTL', item_key(id)) == -1 then complete(id) end
  return 'cleared'
end

local function recover(rkey, channel, claim)
  local ids, kept = call('LRANGE', rkey, 0, -1), false
  crowded[channel] = true  -- the worker that has died may have been woken for a message that still waits
  if #ids == 0 then counts.cleared = counts.cleared + 1 end
  for _, id in ipairs(ids) do
    local outcome = recover_message(id, channel, claim)
    counts[outcome] = counts[outcome] + 1
    kept = kept or outcome == 'kept'
  end
  if kept then
    call('ZADD', leases, after(policy(channel, 'running_timeout')), rkey)
  else
    release(rkey)
  end
end

allow_when_full()
local examined = 0
for _, rkey in ipairs(call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, ARGV[4])) do
  local channel, claim = parts(rkey)
  examined = examined + 1
  if not channel then
    call('ZREM', leases, rkey)
  elseif only == '' or only == channel then
    recover(rkey, channel, claim)
  end
end
wake_workers()
return {examined, counts.returned, counts.dropped, counts.canceled, counts.kept, counts.cleared}
