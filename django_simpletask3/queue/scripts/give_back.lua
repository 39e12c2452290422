-- Return claimed messages to the queue; a message that was canceled meanwhile ends instead.
--
-- ARGV 4 'LPUSH' (end of the queue) or 'RPUSH' (claimed next), 5 reason in YAML, 6.. id, channel, claim
-- Returns for each message 1 if this claim has returned it, now or earlier; 0 if the claim is no longer valid.

local side, reason = ARGV[4], ARGV[5]

local function return_message(id, channel, claim)
  local rkey = running_key(channel, claim)
  local status, holder, settled, mark = scalars(id, 'status', 'running_id', 'x_settled', 'x_')
  if settled == 'ret ' .. claim or (status == 'canceled' and mark == mark_of(claim)) then return 1 end
  local held = holds(rkey, id)
  release(rkey)
  if status == '' and held then
    call(side, mq_key(channel), id)  -- the body expired or was evicted; the id is enough
    return 1
  end
  if status ~= 'running' or holder ~= claim then return 0 end
  if give_back(id, channel, side, reason) == 'canceled' then
    call('HSET', item_key(id), 'x_', mark_of(claim))
  else
    call('HSET', item_key(id), 'x_settled', 'ret ' .. claim)
  end
  return 1
end

allow_when_full()
local replies = {}
for i = 6, #ARGV, 3 do
  replies[#replies + 1] = return_message(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
wake_workers()
return replies
