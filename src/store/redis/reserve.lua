local limit, window, lease = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local own, decided, failed, taken = 'p:' .. ARGV[3], 'f:' .. ARGV[3], {}, 0
for i = 1, #all, 2 do
  local is_failure = string.sub(all[i], 1, 1) == 'f'
  local at = tonumber(all[i + 1])
  if at + (is_failure and window or lease) <= now then
    redis.call('ZREM', KEYS[1], all[i])
  elseif all[i] == own or all[i] == decided then
    -- Asked again, since the answer was lost.
    return {0, 0}
  elseif is_failure then
    failed[#failed + 1] = at
  else
    taken = taken + 1
  end
end
if #failed >= limit then
  local frees = failed[#failed - limit + 1] or now
  return {2, frees + window - now}
end
if #failed + taken >= limit then return {1, 0} end
redis.call('ZADD', KEYS[1], now, own)
redis.call('PEXPIRE', KEYS[1], math.max(window, lease))
return {0, 0}
