-- The sale's stock as a whole becomes another number; what is reserved or sold stays.
--
-- KEYS  sale
-- ARGV  prefix, now, channel of the feed, stock
-- Reply {'ok'}, {'missing'}, {'lost'} or {'refused', units that are reserved or sold}

local sale = redis.call('HMGET', KEYS[1], 'remaining', 'reserved', 'sold', 'seq', 'lost', 'id')
if not sale[4] then
  return {'missing'}
end
if sale[5] then
  return {'lost'}
end
local bound = tonumber(sale[2]) + tonumber(sale[3])
local remaining, seq = tonumber(ARGV[4]) - bound, tonumber(sale[4]) + 1
if remaining < 0 then
  return {'refused', bound}
end
redis.call('HSET', KEYS[1], 'initial', ARGV[4], 'remaining', whole(remaining), 'seq', whole(seq))
log(ARGV[1], moment(ARGV[2]), sale[6], seq, {ARGV[4], whole(remaining), sale[2], sale[3]}, {}, {}, 0)
if remaining > tonumber(sale[1]) then
  redis.call('PUBLISH', ARGV[3], 'stock ' .. sale[6])
end
return {'ok'}
