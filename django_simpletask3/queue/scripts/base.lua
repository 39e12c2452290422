-- What every script begins with; library.lua, which follows, builds on it.
--
-- KEYS 1 the leases: a sorted set of running keys by deadline
-- ARGV 1 prefix, 2 seconds until a done event expires, 3 seconds until a finished message expires
--
-- A script is safe to send twice. The message records which claim (running_id) has settled it, in x_settled while
-- it is in use and in x_ when it is finished; the same call for the same claim gets the same reply again.

local leases = KEYS[1]
local prefix, event_expire, item_expire = ARGV[1], ARGV[2], ARGV[3]

-- Run a command. A key of another type, which no client of ours writes, is deleted: it would stop its queue. If the
-- user of Redis may not run the command, the error names it (that of Redis 6.2 does not).
local function call(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  local is_denied = string.find(reply.err, 'ACL failure') or string.find(reply.err, 'user executing the script')
  if is_denied and not string.find(reply.err, 'access') then error('NOPERM ' .. command .. ' refused', 0) end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then redis.call('DEL', (...)) end
  return redis.call(command, ...)
end

local clock = call('TIME')
local now = clock[1] .. '.' .. string.format('%06d', clock[2])

local function item_key(id) return prefix .. ':item:' .. id end
local function done_key(id) return prefix .. ':done:' .. id end
local function mq_key(channel) return prefix .. ':mq:' .. channel end
