redis.call('ZREM', KEYS[1], 'ended')
local members = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', now)
-- Where Redis is full, nobody can log in either.
redis.pcall('ZADD', KEYS[1], now + tonumber(ARGV[3]), 'ended')
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if last[2] then redis.call('PEXPIRE', KEYS[1], math.max(1, tonumber(last[2]) - now)) end
return members
