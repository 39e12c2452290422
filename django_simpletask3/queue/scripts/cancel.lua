-- Flag a message as canceled; it ends when it is claimed or returned next.
--
-- ARGV 4 id
-- Returns 1 if it will not run, 0 if it is finished or unknown, -1 if it is running.

local id = ARGV[4]
local status = scalars(id, 'status')
if status == '' or status == 'done' then return 0 end
if status == 'canceling' or status == 'canceled' then return 1 end
if status == 'drop' then return -1 end
allow_when_full()
call('HSETNX', item_key(id), 'cancel_time', now)
write(id, 'cancel_flag', 'true')
if status ~= 'ready' then return -1 end
write(id, 'status', 'canceling')
return 1
