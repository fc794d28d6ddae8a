redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[5]) then
  return redis.error_reply('FULL the deny list is full')
end
local expires = tonumber(ARGV[4])
if ARGV[6] == 'in' then expires = now + expires end
redis.call('ZADD', KEYS[1], 'GT', expires, ARGV[3])
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
redis.call('PEXPIRE', KEYS[1], math.max(1, tonumber(last[2]) - now))
redis.call('PUBLISH', KEYS[1], string.char(#ARGV[3]) .. ARGV[3] .. string.format('%.0f %.0f', expires, now))
return {expires, now}
