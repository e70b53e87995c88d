-- A new sale, all of its stock remaining; asked again it changes nothing.
--
-- KEYS  sale
-- ARGV  id, product, stock, price, starts, ends, limit per buyer, seconds to pay, created
-- Reply 1 where it was made now, 0 where it was there

if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call(
  'HSET', KEYS[1], 'id', ARGV[1], 'product', ARGV[2], 'initial', ARGV[3], 'remaining', ARGV[3], 'reserved', '0',
  'sold', '0', 'seq', '0', 'placed', '0', 'price', ARGV[4], 'starts', ARGV[5], 'ends', ARGV[6], 'limit', ARGV[7], 'pay', ARGV[8],
  'created', ARGV[9]
)
return 1
