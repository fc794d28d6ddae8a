return redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', now)
