-- Remove a worker that stops.
--
-- ARGV 4 worker

call('ZREM', prefix .. ':x:workers', ARGV[4])
call('DEL', prefix .. ':worker:' .. ARGV[4])
