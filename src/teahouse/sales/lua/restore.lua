-- The last step of bringing a sale back from SQL: terms and counters, and it sells again.
--
-- KEYS  sale
-- ARGV  prefix, id, product, price, starts, ends, limit, pay, created, initial, remaining, reserved, sold, seq, placed

redis.call('DEL', KEYS[1])
redis.call(
  'HSET', KEYS[1], 'id', ARGV[2], 'product', ARGV[3], 'price', ARGV[4], 'starts', ARGV[5], 'ends', ARGV[6],
  'limit', ARGV[7], 'pay', ARGV[8], 'created', ARGV[9], 'initial', ARGV[10], 'remaining', ARGV[11],
  'reserved', ARGV[12], 'sold', ARGV[13], 'seq', ARGV[14], 'placed', ARGV[15]
)
log(ARGV[1], moment('0'), ARGV[2], ARGV[14], {ARGV[10], ARGV[11], ARGV[12], ARGV[13]}, {}, {}, 0)
return 1
