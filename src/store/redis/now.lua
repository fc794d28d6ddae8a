local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local ahead = tonumber(ARGV[1]) - now
-- Too far ahead is late too: the clock was set back, and the deadline would hold for longer than its caller.
if ahead < 0 or ahead > tonumber(ARGV[2]) then
  return redis.error_reply('LATE the caller has given up')
end
