-- End messages: acknowledged ('done') or dropped ('drop').
--
-- ARGV 4 'done' or 'drop', 5 result in YAML, 6 an entry for the list of dead letters or '', 7.. id, channel, claim
-- Returns for each message 1 if this claim has ended it, now or before; 0 if the claim is no longer valid.

local outcome, result, letter = ARGV[4], ARGV[5], ARGV[6]

local function has_ended(id, claim)
  local status, holder, settled = scalars(id, 'status', 'running_id', 'x_settled')
  return settled == outcome .. ' ' .. claim or (status == outcome and holder == claim)
end

local function remember(channel)
  local dead = prefix .. ':x:dead:' .. channel
  redis.call('LPUSH', dead, letter)
  redis.call('LTRIM', dead, 0, 9999)
end

local function close(id, channel, claim)
  local rkey = running_key(channel, claim)
  if has_ended(id, claim) then return 1 end
  local status, holder = scalars(id, 'status', 'running_id')
  local held = holds(rkey, id)
  release(rkey)
  if status == '' and held then
    finish(id)  -- the body expired or was evicted meanwhile
  elseif status == 'running' and holder == claim then
    settle(id, channel, outcome, result)
    redis.call('HSET', item_key(id), 'x_settled', outcome .. ' ' .. claim)
  else
    return 0
  end
  if letter ~= '' then remember(channel) end
  return 1
end

allow_when_full()
local answers = {}
for i = 7, #ARGV, 3 do
  answers[#answers + 1] = close(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
return answers
