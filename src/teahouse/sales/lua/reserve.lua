-- Purchases of one sale, decided one after the other: window, limit per buyer, stock, idempotency key; then the
-- reservations, and their entry in the log, in the same step.
--
-- KEYS  sale, slots, bought, orders, due
-- ARGV  prefix, now ('0': Redis' time), seq that the caller has seen, most unrecorded orders, then for each purchase:
--       slot (buyer, a space, key), quantity, and the row up to its status: ["id","sale","buyer","key",quantity,amount,
-- Reply {'missing'|'lost'|'full'|'closed'} or {'ok', now, seq, remaining, orders ever placed, then for each purchase:
--       0 reserved, 1 sold out, 2 limit reached, 3 not started, 4 ended, or the row of the order that has the key
--       ('?' and its id where that is no longer here)}

local ARGV, sub, find = ARGV, string.sub, string.find
local prefix, now = ARGV[1], moment(ARGV[2])
local sale = redis.call(
  'HMGET', KEYS[1], 'starts', 'ends', 'limit', 'pay', 'initial', 'remaining', 'reserved', 'sold', 'seq', 'lost',
  'closed', 'id', 'placed'
)
if not sale[9] then
  return {'missing'}
end
local seq = tonumber(sale[9])
if sale[10] or seq < tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], 'lost', '1')
  return {'lost'}
end
if sale[11] then
  return {'closed'}
end
if tonumber(redis.call('GET', prefix .. 'unrecorded') or '0') >= tonumber(ARGV[4]) then
  return {'full'}
end

local starts, ends, limit = tonumber(sale[1]), tonumber(sale[2]), tonumber(sale[3])
local remaining, reserved = tonumber(sale[6]), tonumber(sale[7])
local count = (#ARGV - 4) / 3
local slots, buyers, names = {}, {}, {}
for i = 1, count do
  local slot = ARGV[3 * i + 2]
  local space = find(slot, ' ', 1, true)
  slots[i], buyers[i], names[i] = slot, sub(slot, 1, space - 1), sub(slot, space)
end
local known = redis.call('HMGET', KEYS[2], unpack(slots))
local bought = redis.call('HMGET', KEYS[3], unpack(buyers))

local placed = tonumber(sale[13])
local reply = {'ok', now, seq, remaining, placed}
local now_text, due_at = whole(now), whole(now + tonumber(sale[4]) * 1000)
local rest = '"reserved",' .. now_text .. ',' .. due_at .. ',' .. now_text .. ',1]'
local taken, units_of, last, repeats, places = {}, {}, {}, {}, {}
local new_slots, new_rows, new_ids, logged = {}, {}, {}, {}
local changed_buyers = {}
local made = 0

for i = 1, count do
  local slot, buyer = slots[i], buyers[i]
  local earlier = known[i] and sub(known[i], 1, ID) or taken[slot]
  local outcome = 0
  if earlier then
    repeats[#repeats + 1] = earlier
    places[#places + 1] = 5 + i
  elseif now < starts then
    outcome = 3
  elseif now >= ends then
    outcome = 4
  else
    local quantity, units, previous = ARGV[3 * i + 3] + 0, units_of[buyer], last[buyer]
    if not units then
      units, previous = read_bought(bought[i])
    end
    units = units + quantity
    if units > limit then
      outcome = 2
    elseif quantity > remaining then
      outcome = 1
    else
      local head = ARGV[3 * i + 4]
      local id, row = sub(head, 3, 34), head .. rest
      remaining, reserved = remaining - quantity, reserved + quantity
      if not last[buyer] then
        changed_buyers[#changed_buyers + 1] = buyer
      end
      units_of[buyer], last[buyer], taken[slot] = units, names[i], id
      new_slots[2 * made + 1], new_slots[2 * made + 2] = slot, id .. previous
      new_rows[2 * made + 1], new_rows[2 * made + 2] = id, row
      made = made + 1
      new_ids[made], logged[made] = id, row
    end
  end
  reply[5 + i] = outcome
end

if made > 0 then
  seq = seq + 1
  redis.call('HSET', KEYS[2], unpack(new_slots))
  redis.call('HSET', KEYS[4], unpack(new_rows))
  -- They fall due together, so they are one entry; what is settled before then is passed over.
  redis.call('ZADD', KEYS[5], due_at, table.concat(new_ids))
  redis.call('INCRBY', prefix .. 'live', made)
  local new_bought = {}
  for i = 1, #changed_buyers do
    local buyer = changed_buyers[i]
    new_bought[2 * i - 1], new_bought[2 * i] = buyer, whole(units_of[buyer]) .. last[buyer]
  end
  redis.call('HSET', KEYS[3], unpack(new_bought))
  redis.call('HSET', KEYS[1], 'remaining', whole(remaining), 'reserved', whole(reserved), 'seq', whole(seq),
    'placed', whole(placed + made))
  local place = log(
    prefix, now, sale[12], seq, {sale[5], whole(remaining), whole(reserved), sale[8]}, logged, {}, made
  )
  redis.call('ZADD', prefix .. 'selling', place, math.floor(now / MINUTE) .. ' ' .. sale[12])
  reply[3], reply[4], reply[5] = seq, remaining, placed + made
end

if #repeats > 0 then
  local rows = redis.call('HMGET', KEYS[4], unpack(repeats))
  for i, id in ipairs(repeats) do
    reply[places[i]] = rows[i] or ('?' .. id)
  end
end
return reply
