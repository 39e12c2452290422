-- Ask which messages nobody holds by a valid claim.
--
-- ARGV 4 channel, 5.. ids
-- Returns those ids. A claim of a stock client counts as valid until it was adopted and its time is over.

local function is_held(id)
  local status, claim = scalars(id, 'status', 'running_id')
  local rkey = running_key(ARGV[4], claim)
  if status ~= 'running' or not holds(rkey, id) then return false end
  local deadline = redis.call('ZSCORE', leases, rkey)
  return not deadline or tonumber(deadline) > tonumber(now)
end

local free = {}
for i = 5, #ARGV do
  if not is_held(ARGV[i]) then free[#free + 1] = ARGV[i] end
end
return free
