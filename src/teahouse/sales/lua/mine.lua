-- A buyer's orders of the last minutes, and all that SQL may not have yet.
--
-- KEYS  orders
-- ARGV  prefix, buyer
-- Reply the rows

local rows = {}
for _, minute in ipairs(redis.call('ZRANGE', ARGV[1] .. 'minutes', 0, -1)) do
  local ids = redis.call('HGET', ARGV[1] .. 'recent:' .. minute, ARGV[2])
  if ids then
    local wanted = {}
    for id in string.gmatch(ids, string.rep('%x', 32)) do
      wanted[#wanted + 1] = id
    end
    for _, row in ipairs(redis.call('HMGET', KEYS[1], unpack(wanted))) do
      if row then
        rows[#rows + 1] = row
      end
    end
  end
end
return rows
