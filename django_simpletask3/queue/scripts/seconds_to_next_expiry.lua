-- Read when the first lease ends.
--
-- Returns {end of the first lease, or 'inf' without leases; current time}, in seconds as texts.

local first = call('ZRANGE', leases, 0, 0, 'WITHSCORES')
return {first[2] or 'inf', now}
