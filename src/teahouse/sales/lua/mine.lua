-- A buyer's latest orders of the last minutes, and of all that SQL may not have yet.
--
-- KEYS  orders
-- ARGV  prefix, buyer, id that they are older than ('' for none), how many at most
-- Reply the rows: of each minute the newest, up to that many

local rows = {}
local newest = ARGV[3] == '' and '(' .. ARGV[2] .. 'g' or '(' .. ARGV[2] .. ARGV[3]
for _, minute in ipairs(redis.call('ZRANGE', ARGV[1] .. 'minutes', 0, -1)) do
  local recent = ARGV[1] .. 'recent:' .. minute
  local found = redis.call('ZREVRANGEBYLEX', recent, newest, '[' .. ARGV[2], 'LIMIT', 0, ARGV[4])
  if #found > 0 then
    local ids = {}
    for i, entry in ipairs(found) do
      ids[i] = string.sub(entry, -32)
    end
    for _, row in ipairs(redis.call('HMGET', KEYS[1], unpack(ids))) do
      if row then
        rows[#rows + 1] = row
      end
    end
  end
end
return rows
