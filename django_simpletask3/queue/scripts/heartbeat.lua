-- Record that a worker is alive and renew the leases of its claims.
--
-- ARGV 4 worker, 5 worker in YAML, 6 seconds the worker's status lives, 7 seconds of the lease, 8.. id, channel, claim
-- Returns the claims that are no longer valid.

local function is_valid(id, rkey, claim)
  local status, holder = scalars(id, 'status', 'running_id')
  if status == '' then return holds(rkey, id) end
  return status == 'running' and holder == claim
end

local function renew(id, rkey)
  call('ZADD', leases, after(ARGV[7]), rkey)
  -- The recovery of a stock client measures the age of start_time: renewing it prevents a takeover.
  if call('EXISTS', item_key(id)) == 1 then call('HSET', item_key(id), 'start_time', now) end
end

allow_when_full()
local status_key = prefix .. ':worker:' .. ARGV[4]
call('HSETNX', status_key, 'start_time', now)
call('HSET', status_key, 'worker', ARGV[5], 'update_time', now)
call('EXPIRE', status_key, ARGV[6])
local lost = {}
for i = 8, #ARGV, 3 do
  local id, rkey = ARGV[i], running_key(ARGV[i + 1], ARGV[i + 2])
  if is_valid(id, rkey, ARGV[i + 2]) then renew(id, rkey) else lost[#lost + 1] = ARGV[i + 2] end
end
return lost
