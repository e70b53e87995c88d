-- Everything that happens to orders after their purchase, for one shard: cancellation, payment, expiry.
--
-- KEYS  log (for the shard)
-- ARGV  prefix, now ('0': Redis' time), channel of the feed, then for each command five: verb, order id, and
--       cancel: buyer, '', row        settle: amount, transaction id, row        expire: how many at most, '', ''
--       row: the order as SQL has it, for one that is no longer here; '' where SQL has none
-- Reply for each command: {'ok', …}: the row (cancel), the payment as JSON (settle), 'more' or '' and the rows (expire);
--       {'refused', row}: the order cannot be cancelled any more; {'reused'}: the transaction paid something else;
--       {'unknown'}: there is no such order of this buyer; {'lost'}: Redis does not have the order's sale

local prefix, now, channel = ARGV[1], moment(ARGV[2]), ARGV[3]
local orders_key, due_key, payments_key = prefix .. 'orders', prefix .. 'due', prefix .. 'payments'
local minute = math.floor(now / MINUTE)
local sales, touched = {}, {}

local function load_sale(id)
  if sales[id] == nil then
    local found = redis.call(
      'HMGET', prefix .. 'sale:' .. id, 'initial', 'remaining', 'reserved', 'sold', 'seq', 'lost', 'closed', 'limit'
    )
    sales[id] = found[5] and not found[6] and {
      id = id, initial = tonumber(found[1]), remaining = tonumber(found[2]), reserved = tonumber(found[3]),
      sold = tonumber(found[4]), seq = tonumber(found[5]), closed = found[7], limit = tonumber(found[8]), rows = {}, payments = {},
      before = tonumber(found[2])
    } or false
  end
  return sales[id]
end

local function touch(sale)
  if not sale.touched then
    sale.touched = true
    touched[#touched + 1] = sale
  end
end

local function read(row)
  local order = {}
  order.head, order.status, order.created, order.pay, order.changed, order.version =
    string.match(row, '^(.*),"(%a+)",(%d+),(%d+),(%d+),(%d+)%]$')
  order.amount = string.match(order.head, ',(%d+)$')
  local fields = cjson.decode(row)
  order.id, order.sale, order.buyer, order.quantity = fields[1], fields[2], fields[3], fields[5]
  order.row = row
  return order
end

local function find(id, archived)
  local row = redis.call('HGET', orders_key, id)
  if not row and archived ~= '' then
    row = archived
  end
  return row and read(row) or nil
end

-- A buyer's orders that changed in a minute are a field of the hash changed:<minute>: ids, the latest last. Ids are never
-- rewritten more than CHUNK at a time: what is full moves to a field of its own, '<' and its last id, and the ids that
-- follow begin with that field's name.
local CHUNK = 8

local function remember(order)
  local key, new = prefix .. 'changed:' .. minute, order.id
  local chunk = redis.call('HGET', key, order.buyer)
  if chunk and #chunk >= ID * CHUNK then
    local moved = '<' .. string.sub(chunk, -ID)
    redis.call('HSET', key, moved, chunk)
    new = moved .. new
  elseif chunk then
    new = chunk .. new
  end
  redis.call('HSET', key, order.buyer, new)
  redis.call('RPUSH', prefix .. 'final:' .. minute, 'o' .. order.id)
end

local function hold(sale, order, units)
  if units == 0 then
    return
  end
  local key = prefix .. 'bought:' .. sale.id
  local counted, slot = read_bought(redis.call('HGET', key, order.buyer))
  if counted + units > 0 then
    redis.call('HSET', key, order.buyer, whole(counted + units) .. slot)
  else
    -- All of their orders have changed since, so a list finds them by the minutes of their change.
    redis.call('HDEL', key, order.buyer)
  end
end

local function counts(status)
  return (status == 'reserved' or status == 'paid') and 1 or 0
end

local function move(sale, order, after)
  touch(sale)
  local quantity = order.quantity
  for status, change in pairs({[order.status] = -quantity, [after] = quantity}) do
    if status == 'reserved' then
      sale.reserved = sale.reserved + change
    elseif status == 'paid' then
      sale.sold = sale.sold + change
    else
      sale.remaining = sale.remaining + change
    end
  end
  hold(sale, order, quantity * (counts(after) - counts(order.status)))
  if order.status == 'reserved' then
    redis.call('DECR', prefix .. 'live')
  end
  order.status, order.changed, order.version = after, whole(now), whole(tonumber(order.version) + 1)
  order.row = order.head .. ',"' .. after .. '",' .. order.created .. ',' .. order.pay .. ',' .. order.changed .. ','
    .. order.version .. ']'
  redis.call('HSET', orders_key, order.id, order.row)
  sale.rows[#sale.rows + 1] = order.row
  remember(order)
end

local function cancel(id, buyer, _, archived)
  local order = find(id, archived)
  if not order or order.buyer ~= buyer then
    return {'unknown'}
  end
  if order.status == 'cancelled' then
    return {'ok', order.row, 'again'}
  end
  if order.status ~= 'reserved' then
    return {'refused', order.row}
  end
  local sale = load_sale(order.sale)
  if not sale then
    return {'lost'}
  end
  move(sale, order, 'cancelled')
  return {'ok', order.row}
end

local function hindrance(order, sale, amount)
  if not order then
    return 'unknown-order'
  end
  if order.status == 'paid' then
    return 'already-paid'
  end
  if order.amount ~= amount then
    return 'wrong-amount'
  end
  if order.status == 'reserved' then
    return ''
  end
  -- A lapsed order is bought anew by its payment, so the rules of a purchase hold but for the window.
  if sale.remaining < order.quantity then
    return 'sold-out-meanwhile'
  end
  local counted = read_bought(redis.call('HGET', prefix .. 'bought:' .. sale.id, order.buyer))
  return counted + order.quantity > sale.limit and 'limit-reached' or ''
end

-- The log entry of a payment goes with its sale's; a payment that no order here waits for has one of its own.
local stray = {}

local function settle(id, amount, transaction, archived)
  local earlier = redis.call('HGET', payments_key, transaction)
  local start = '[' .. cjson.encode(transaction) .. ',' .. cjson.encode(id) .. ',' .. amount .. ','
  if earlier then
    return string.sub(earlier, 1, #start) == start and {'ok', earlier} or {'reused'}
  end
  local order = find(id, archived)
  local sale = order and load_sale(order.sale)
  if order and not sale then
    return {'lost'}
  end
  local reason = hindrance(order, sale, amount)
  local late = order and order.status ~= 'reserved'
  if reason == '' then
    move(sale, order, 'paid')
  end
  local state = reason == '' and 'settled' or 'refund-due'
  local payment = start .. '"' .. state .. '","' .. reason .. '",' .. whole(now) .. ']'
  redis.call('HSET', payments_key, transaction, payment)
  redis.call('RPUSH', prefix .. 'final:' .. minute, 'p' .. transaction)
  if sale then
    touch(sale)
    sale.payments[#sale.payments + 1] = payment
  else
    stray[#stray + 1] = payment
  end
  return {'ok', payment, order and order.row or '', late and 'late' or ''}
end

-- Returns one group of orders that fall due together, and puts their rows to the others.
local function expire_group(group, rows)
  local waiting = {}
  for at = 1, #group, 32 do
    local id = string.sub(group, at, at + 31)
    local order = find(id, '')
    if order and order.status == 'reserved' then
      local sale = load_sale(order.sale)
      if sale then
        move(sale, order, 'expired')
        rows[#rows + 1] = order.row
      else
        waiting[#waiting + 1] = id
      end
    end
  end
  redis.call('ZREM', due_key, group)
  if #waiting > 0 then
    -- Their sale has to be repaired first; the others need not wait for that.
    redis.call('ZADD', due_key, whole(now + 5000), table.concat(waiting))
  end
end

local function expire(_, most)
  local rows = {'ok', ''}
  local groups = redis.call('ZRANGEBYSCORE', due_key, '-inf', whole(now), 'LIMIT', 0, most)
  for i, group in ipairs(groups) do
    expire_group(group, rows)
    if #rows - 2 >= tonumber(most) or i == tonumber(most) then
      rows[2] = 'more'
      break
    end
  end
  return rows
end

local verbs = {cancel = cancel, settle = settle, expire = expire}
local replies = {}
for i = 4, #ARGV, 5 do
  replies[#replies + 1] = verbs[ARGV[i]](ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
end

local place
for _, sale in ipairs(touched) do
  sale.seq = sale.seq + 1
  redis.call(
    'HSET', prefix .. 'sale:' .. sale.id, 'remaining', whole(sale.remaining), 'reserved', whole(sale.reserved),
    'sold', whole(sale.sold), 'seq', whole(sale.seq)
  )
  local tally = {whole(sale.initial), whole(sale.remaining), whole(sale.reserved), whole(sale.sold)}
  place = log(prefix, now, sale.id, sale.seq, tally, sale.rows, sale.payments, #sale.rows + #sale.payments)
  if sale.remaining > sale.before then
    redis.call('PUBLISH', channel, 'stock ' .. sale.id)
  end
end
if #stray > 0 then
  place = log(prefix, now, '', 0, {}, {}, stray, #stray)
end
if place then
  redis.call('ZADD', prefix .. 'minutes', place, minute)
end
return replies
