local f = redis.call('HMGET', KEYS[1], 'cur', 'prev', 'sealed', 'rot', 'sub', 'cid', 'scope', 'stamp', 'abs', 'idle')
if not f[1] then return false end
local left = tonumber(f[9]) - now
if left <= 0 then return false end
return {f[1], f[2], f[3], f[4] and math.max(0, now - tonumber(f[4])) or 0, f[5], f[6], f[7], f[8], left, tonumber(f[10])}
