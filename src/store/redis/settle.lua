redis.call('ZREM', KEYS[1], 'p:' .. ARGV[3])
if ARGV[4] == 'failed' then
  redis.call('ZADD', KEYS[1], now, 'f:' .. ARGV[3])
  redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[5]), tonumber(ARGV[6])))
elseif ARGV[4] == 'succeeded' then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if string.sub(member, 1, 1) == 'f' then redis.call('ZREM', KEYS[1], member) end
  end
end
return 1
