-- Ask when the first of the leases ends that stand now.
--
-- Returns {that moment, or 'inf' if there is none; the moment it is now}, as texts.

local first = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
return {first[2] or 'inf', now}
