-- Entries of the log that are in SQL: they are acknowledged and leave.
--
-- KEYS  log
-- ARGV  prefix, group, '', then the entries' ids
-- Reply how many were still there: an entry that was recorded twice counts once

local ids = {}
for i = 4, #ARGV do
  ids[#ids + 1] = ARGV[i]
end
redis.call('XACK', KEYS[1], ARGV[2], unpack(ids))
local gone, units = 0, 0
for i, id in ipairs(ids) do
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if entry then
    for place = 1, #entry[2], 2 do
      if entry[2][place] == 'count' then
        units = units + (tonumber(entry[2][place + 1]) or 0)
      end
    end
    gone = gone + 1
  end
end
redis.call('XDEL', KEYS[1], unpack(ids))
redis.call('DECRBY', ARGV[1] .. 'unrecorded', units)
return gone
