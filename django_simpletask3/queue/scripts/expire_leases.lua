-- End the leases of all claims and waits of workers that are known to be dead.
--
-- ARGV 4.. workers
-- Returns the number of leases ended.

local dead = {}
for i = 4, #ARGV do dead[ARGV[i]] = true end

local function worker_of(rkey)
  local waiting = call('HGET', waits, rkey)
  if waiting then return waiting end
  local id = parts(rkey) and call('LINDEX', rkey, 0)
  return id and (scalars(id, 'worker'))
end

allow_when_full()
local ended = 0
for _, rkey in ipairs(call('ZRANGE', leases, 0, -1)) do
  if dead[worker_of(rkey)] then
    call('ZADD', leases, 0, rkey)
    ended = ended + 1
  end
end
return ended
