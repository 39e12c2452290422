-- Say that a worker is alive, and how it is doing.
--
-- ARGV 4 worker, 5 worker in YAML, 6 seconds the report lives, 7 report in YAML

local status_key, roll = prefix .. ':worker:' .. ARGV[4], prefix .. ':x:workers'

-- The first write is one that a full server allows, too: as allow_when_full(), and of use.
local is_known = redis.call('EXPIRE', status_key, ARGV[6]) == 1
redis.call('HSET', status_key, 'worker', ARGV[5], 'update_time', now, 'x_report', ARGV[7])
if not is_known then
  redis.call('HSET', status_key, 'start_time', now)
  redis.call('EXPIRE', status_key, ARGV[6])
end
-- Who comes wipes away who has gone.
if redis.call('ZADD', roll, now, ARGV[4]) == 1 then
  redis.call('ZREMRANGEBYSCORE', roll, '-inf', tonumber(now) - tonumber(ARGV[6]))
end
redis.call('EXPIRE', roll, ARGV[6])
