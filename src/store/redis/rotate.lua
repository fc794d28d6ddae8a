local f = redis.call('HMGET', KEYS[1], 'cur', 'abs', 'idle')
if not f[1] then return 0 end
local left = tonumber(f[2]) - now
if left <= 0 then return 0 end
if f[1] ~= ARGV[3] then return 1 end
redis.call('HSET', KEYS[1], 'cur', ARGV[4], 'prev', ARGV[3], 'sealed', ARGV[5], 'rot', now)
redis.call('PEXPIRE', KEYS[1], math.min(left, tonumber(f[3])))
return 2
