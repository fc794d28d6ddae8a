local absolute, idle, age = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('HMGET', KEYS[1], 'gone')[1] then return 0 end
-- Redis lets a script that has written go on where it is full: nothing is deleted that is not there.
if redis.call('HMGET', KEYS[1], 'cur')[1] then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'abs', now + absolute, 'idle', idle, 'new', tonumber(ARGV[1]) - age, 'cur', ARGV[6], 'login', ARGV[7])
redis.call('PEXPIRE', KEYS[1], math.min(absolute, idle))
return 1
