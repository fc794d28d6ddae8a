local absolute, idle = tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'abs', now + absolute, 'idle', idle, unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], math.min(absolute, idle))
return 1
