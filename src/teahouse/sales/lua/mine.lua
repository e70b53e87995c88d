-- A buyer's latest orders of all that SQL may not have yet: what was bought, and what has changed in the last minutes.
--
-- KEYS  orders
-- ARGV  prefix, buyer, id that they are older than ('' for none), how many at most
-- Reply the rows: of each sale and of each minute the newest, up to that many

-- This script holds all up, so it walks so far and no farther: whoever buys more of one sale, or changes more in one
-- minute, sees the others once they are in SQL.
local MOST_SLOTS, MOST_CHUNKS = 2048, 256
-- Ids are made by the clocks of the nodes, which may differ: of two orders the later may have the smaller id.
local NEIGHBOURS = 64
local prefix, buyer, before, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

local function older(id)
  return before == '' or id < before
end

-- The ids that the buyer's slots of a sale lead to.
local function bought_of(sale)
  local ids, slots = {}, prefix .. 'slots:' .. sale
  local _, slot = read_bought(redis.call('HGET', prefix .. 'bought:' .. sale, buyer))
  for _ = 1, MOST_SLOTS do
    local found = slot ~= '' and #ids < most + NEIGHBOURS and redis.call('HGET', slots, buyer .. slot)
    if not found then
      break
    end
    local id = string.sub(found, 1, ID)
    if older(id) then
      ids[#ids + 1] = id
    end
    slot = string.sub(found, ID + 1)
  end
  return ids
end

-- The ids of orders that changed in a minute.
local function changed_in(minute)
  local ids, seen, field = {}, {}, buyer
  for _ = 1, MOST_CHUNKS do
    local chunk = field and redis.call('HGET', prefix .. 'changed:' .. minute, field)
    if not chunk then
      break
    end
    local start = 1
    field = nil
    if string.sub(chunk, 1, 1) == '<' then
      field, start = string.sub(chunk, 1, ID + 1), ID + 2
    end
    for i = start, #chunk, ID do
      local id = string.sub(chunk, i, i + ID - 1)
      if not seen[id] and older(id) then
        seen[id], ids[#ids + 1] = true, id
      end
    end
  end
  return ids
end

local rows = {}

local function put_newest(ids)
  table.sort(ids, function(one, other) return one > other end)
  if #ids > 0 then
    for _, row in ipairs(redis.call('HMGET', KEYS[1], unpack(ids, 1, math.min(#ids, most)))) do
      if row then
        rows[#rows + 1] = row
      end
    end
  end
end

local walked = {}
for _, sold in ipairs(redis.call('ZRANGE', prefix .. 'selling', 0, -1)) do
  local sale = string.match(sold, ' (.*)$')
  if not walked[sale] then
    walked[sale] = true
    put_newest(bought_of(sale))
  end
end
for _, minute in ipairs(redis.call('ZRANGE', prefix .. 'minutes', 0, -1)) do
  put_newest(changed_in(minute))
end
return rows
