-- Record that a worker is alive, with its status report.
--
-- ARGV 4 worker, 5 worker in YAML, 6 seconds until the report expires, 7 report in YAML

local status_key, workers = prefix .. ':worker:' .. ARGV[4], prefix .. ':x:workers'

-- A full server allows this first write, as that of allow_when_full().
local is_known = call('EXPIRE', status_key, ARGV[6]) == 1
call('HSET', status_key, 'worker', ARGV[5], 'update_time', now, 'x_report', ARGV[7])
if not is_known then
  call('HSET', status_key, 'start_time', now)
  call('EXPIRE', status_key, ARGV[6])
end
-- A new worker removes expired ones.
if call('ZADD', workers, now, ARGV[4]) == 1 then
  call('ZREMRANGEBYSCORE', workers, '-inf', tonumber(now) - tonumber(ARGV[6]))
end
call('EXPIRE', workers, ARGV[6])
