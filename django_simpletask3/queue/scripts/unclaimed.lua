-- List messages without a valid claim.
--
-- ARGV 4 channel, 5.. ids
-- Returns their ids. The claim of a stock client is valid until it was adopted and that lease has expired.

-- Messages that a blocking move took from the queue and that the waiting worker has not started yet.
local moved
local function is_moved(id)
  if not moved then
    moved = {}
    for _, rkey in ipairs(call('HKEYS', waits)) do
      local deadline = call('ZSCORE', leases, rkey)
      if not deadline then call('HDEL', waits, rkey) end  -- left by a dead worker
      local taken = parts(rkey) and call('LINDEX', rkey, 0)
      if taken and deadline and tonumber(deadline) > tonumber(now) then moved[taken] = true end
    end
  end
  return moved[id]
end

local function is_held(id)
  local status, claim = scalars(id, 'status', 'running_id')
  if status ~= 'running' then return is_moved(id) end
  local rkey = running_key(ARGV[4], claim)
  if not holds(rkey, id) then return false end
  local deadline = call('ZSCORE', leases, rkey)
  return not deadline or tonumber(deadline) > tonumber(now)
end

local unclaimed = {}
for i = 5, #ARGV do
  if not is_held(ARGV[i]) then unclaimed[#unclaimed + 1] = ARGV[i] end
end
return unclaimed
