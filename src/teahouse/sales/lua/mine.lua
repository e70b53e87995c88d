-- A buyer's latest orders of the last minutes, and of all that SQL may not have yet.
--
-- KEYS  orders
-- ARGV  prefix, buyer, id that they are older than ('' for none), how many at most
-- Reply the rows: of each minute the newest, up to that many

-- Whoever makes more orders than that in one minute sees the others once they are in SQL: this script holds all up.
local MOST_CHUNKS = 256
local before, most = ARGV[3], tonumber(ARGV[4])

-- The buyer's ids in one minute that are old enough.
local function ids_of(recent)
  local ids, seen, field = {}, {}, ARGV[2]
  for _ = 1, MOST_CHUNKS do
    local chunk = field and redis.call('HGET', recent, field)
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
      if not seen[id] and (before == '' or id < before) then
        seen[id], ids[#ids + 1] = true, id
      end
    end
  end
  return ids
end

local rows = {}
for _, minute in ipairs(redis.call('ZRANGE', ARGV[1] .. 'minutes', 0, -1)) do
  local ids = ids_of(ARGV[1] .. 'recent:' .. minute)
  table.sort(ids, function(one, other) return one > other end)
  if #ids > 0 then
    for _, row in ipairs(redis.call('HMGET', KEYS[1], unpack(ids, 1, math.min(#ids, most)))) do
      if row then
        rows[#rows + 1] = row
      end
    end
  end
end
return rows
