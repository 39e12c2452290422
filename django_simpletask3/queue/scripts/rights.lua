-- Find out which commands of the scripts the user of this connection may not run. Not prepended with library.lua,
-- which needs some of them.
--
-- ARGV 1 prefix
-- Returns their names; 'KEYS' if the user may not use the keys.

local key = ARGV[1] .. ':x:rights'
local commands = {
  {'TIME'}, {'DEL', key}, {'EXISTS', key}, {'EXPIRE', key, 1}, {'PERSIST', key}, {'TTL', key},
  {'HDEL', key, 'f'}, {'HGET', key, 'f'}, {'HGETALL', key}, {'HKEYS', key}, {'HMGET', key, 'f'}, {'HSET', key, 'f', 1},
  {'HSETNX', key, 'f', 1}, {'DEL', key}, {'LINDEX', key, 0}, {'LLEN', key}, {'LPOS', key, 'f'}, {'LPUSH', key, 'f'},
  {'LRANGE', key, 0, 0}, {'LREM', key, 0, 'f'}, {'LTRIM', key, 0, 0}, {'RPOP', key}, {'RPUSH', key, 'f'}, {'DEL', key},
  {'ZADD', key, 0, 'f'}, {'ZCARD', key}, {'ZRANGE', key, 0, 0}, {'ZRANGEBYSCORE', key, 0, 0}, {'ZREM', key, 'f'},
  {'ZREMRANGEBYSCORE', key, 0, 0}, {'ZREVRANGEBYSCORE', key, 0, 0}, {'ZSCORE', key, 'f'}, {'DEL', key},
}

local function refused(err)
  if string.find(err, 'access') then return 'KEYS' end
  return string.find(err, 'ACL failure') or string.find(err, 'user executing the script')
end

local missing, is_listed = {}, {}
for _, command in ipairs(commands) do
  local reply = redis.pcall(unpack(command))
  local reason = type(reply) == 'table' and reply.err and refused(reply.err)
  local name = reason == 'KEYS' and reason or reason and command[1]
  if name and not is_listed[name] then
    missing[#missing + 1], is_listed[name] = name, true
  end
end
return missing
