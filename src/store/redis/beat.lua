return redis.call('PUBLISH', KEYS[1], ARGV[3])
