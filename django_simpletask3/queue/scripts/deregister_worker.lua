-- Remove a worker that stops.
--
-- ARGV 4 worker

redis.call('ZREM', prefix .. ':x:workers', ARGV[4])
redis.call('DEL', prefix .. ':worker:' .. ARGV[4])
