-- Entries of the log that are in SQL: they are acknowledged and leave.
--
-- KEYS  log
-- ARGV  prefix, group, then for each entry its id and how many orders and payments it held
-- Reply how many were still there: an entry that was recorded twice counts once

local ids, gone, units = {}, 0, 0
for i = 3, #ARGV, 2 do
  ids[#ids + 1] = ARGV[i]
end
redis.call('XACK', KEYS[1], ARGV[2], unpack(ids))
for i = 3, #ARGV, 2 do
  if redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then
    gone, units = gone + 1, units + tonumber(ARGV[i + 1])
  end
end
redis.call('DECRBY', ARGV[1] .. 'unrecorded', units)
return gone
