-- Finish messages: acknowledge ('done') or drop ('drop') them; or remove them without an end ('forget').
--
-- ARGV 4 'done', 'drop' or 'forget', 5 result in YAML, 6 an entry for the list of dead letters or '', 7.. id, channel, claim
-- Returns for each message 1 if this claim has finished it, now or earlier; 0 if the claim is no longer valid. Without
-- a claim it is finished unless it is in use: its task has ended without it.

local outcome, result, letter = ARGV[4], ARGV[5], ARGV[6]

local released = {}

-- Finish a message whose claim is valid; a message that was pushed again meanwhile is queued instead.
local function finish_or_requeue(id, channel, claim, rkey, is_repushed)
  if not is_repushed and outcome == 'forget' then return call('DEL', item_key(id), done_key(id), rkey) end
  if not is_repushed then return finish(id, rkey, outcome, result, 'x_', mark_of(claim)) end
  call('DEL', rkey)
  requeue(id, channel, 'LPUSH')
  call('HSET', item_key(id), 'x_settled', outcome .. ' ' .. claim)
end

local function settle(id, channel, claim)
  local status, holder, settled, mark, repush =
    scalars(id, 'status', 'running_id', 'x_settled', 'x_', 'x_repush')
  if claim == '' then
    if status ~= '' and not is_final(status) then return 0 end
    finish(id, nil, outcome, result)
    return 1
  end
  if settled == outcome .. ' ' .. claim then return 1 end
  -- A message that a stock client or an earlier version finished still has its running_id.
  if status == outcome and (mark == mark_of(claim) or holder == claim) then return 1 end
  local rkey = running_key(channel, claim)
  local is_bodiless = status == '' and holds(rkey, id)
  released[#released + 1] = rkey
  if status == 'running' and holder == claim then
    finish_or_requeue(id, channel, claim, rkey, repush == 'true')
  else
    call('DEL', rkey)
    if not is_bodiless then return 0 end
    call('DEL', done_key(id))
    if outcome ~= 'forget' then wake(id) end  -- the body expired or was evicted
  end
  if letter ~= '' then add_dead_letter(channel, letter) end
  return 1
end

-- The first write is a DEL, which a full server allows.
local replies = {}
for i = 7, #ARGV, 3 do
  replies[#replies + 1] = settle(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
if #released > 0 then call('ZREM', leases, unpack(released)) end
wake_workers()
return replies
