-- The member 'ended' has the time at which all sessions of the subject were ended, plus the time for which that is known.
local ended = redis.call('ZSCORE', KEYS[1], 'ended')
-- The login was verified so long before the deadline of this call, however late the call is.
if ended and tonumber(ARGV[1]) - tonumber(ARGV[5]) <= tonumber(ended) - tonumber(ARGV[6]) then return {} end
-- What adds comes first: where Redis is full, it refuses the first write of a script alone.
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
redis.call('PEXPIRE', KEYS[1], math.max(1, tonumber(last[2]) - now))
-- All others, the newest first, if there are too many: some may be over already, and that is not known here.
local others = {'1'}
for _, member in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, -1)) do
  if member ~= 'ended' and member ~= ARGV[3] then others[#others + 1] = member end
end
return #others > tonumber(ARGV[7]) and others or {'1'}
