-- A sale that is over for good: what only a running sale needs is freed. SQL must have all of it, which the caller
-- shows by the seq that SQL knows.
--
-- KEYS  sale, slots, bought
-- ARGV  now, seq in SQL, milliseconds after the end
-- Reply 1 where it is closed now

local sale = redis.call('HMGET', KEYS[1], 'ends', 'reserved', 'seq', 'lost', 'closed')
if not sale[3] or sale[4] or sale[5] then
  return 0
end
local over = moment(ARGV[1]) >= tonumber(sale[1]) + tonumber(ARGV[3])
if not over or tonumber(sale[2]) > 0 or tonumber(sale[3]) ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('UNLINK', KEYS[2])
-- Whoever pays late is still held to the limit per buyer, for as long as any payment may be late.
redis.call('EXPIRE', KEYS[3], 8 * 86400)
redis.call('HSET', KEYS[1], 'closed', '1')
return 1
