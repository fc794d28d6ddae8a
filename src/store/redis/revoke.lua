local ended = redis.call('HMGET', KEYS[1], 'cur')[1] and redis.call('DEL', KEYS[1]) or 0
-- Keeps out a login in progress that is about to insert this family. Where Redis is full, it cannot.
if ended == 0 and ARGV[3] and redis.pcall('HSET', KEYS[1], 'gone', 1) == 1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return ended
