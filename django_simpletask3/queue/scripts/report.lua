-- Say that a worker is alive, and how it is doing.
--
-- ARGV 4 worker, 5 worker in YAML, 6 seconds the report lives, 7 report in YAML

allow_when_full()
local status_key, roll = prefix .. ':worker:' .. ARGV[4], prefix .. ':x:workers'
redis.call('HSETNX', status_key, 'start_time', now)
redis.call('HSET', status_key, 'worker', ARGV[5], 'update_time', now, 'x_report', ARGV[7])
redis.call('EXPIRE', status_key, ARGV[6])
redis.call('ZADD', roll, now, ARGV[4])
redis.call('ZREMRANGEBYSCORE', roll, '-inf', tonumber(now) - tonumber(ARGV[6]))
redis.call('EXPIRE', roll, ARGV[6])
