local f = redis.call('HMGET', KEYS[1], 'cur', 'prev', 'sealed', 'login', 'abs', 'idle', 'new', 'rot')
if not f[1] then return false end
local left = tonumber(f[5]) - now
if left <= 0 then return false end
local used = tonumber(f[8] or f[7])
return {f[1], f[2], f[3], f[4], left, tonumber(f[6]), math.max(0, now - tonumber(f[7])), math.max(0, now - used)}
