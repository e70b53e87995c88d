-- Lets go of what was settled or sold a minute ago and is in SQL. Until then a caller who looked it up in SQL a moment
-- ago, or in a replica that lags, still finds here what has happened to it since.
--
-- KEYS  log
-- ARGV  prefix, now
-- Reply how many orders and payments left

local prefix, now = ARGV[1], moment(ARGV[2])
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
-- Minutes are those of the clock, which may be set; what is in SQL is told by the places in the log.
local recorded = oldest and '(' .. string.match(oldest[1], '^%d+') or '+inf'
local safe = math.floor(now / MINUTE) - 1
local minutes = {}
for _, minute in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'minutes', '-inf', recorded)) do
  if tonumber(minute) < safe and #minutes < 10 then
    minutes[#minutes + 1] = minute
  end
end
for _, sold in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'selling', '-inf', recorded)) do
  if tonumber(string.match(sold, '^%d+')) < safe then
    redis.call('ZREM', prefix .. 'selling', sold)
  end
end
local left = 0
for _, minute in ipairs(minutes) do
  local final, most = prefix .. 'final:' .. minute, 1000
  local things = redis.call('LPOP', final, most) or {}
  for _, thing in ipairs(things) do
    local id = string.sub(thing, 2)
    if string.sub(thing, 1, 1) == 'p' then
      left = left + redis.call('HDEL', prefix .. 'payments', id)
    else
      local row = redis.call('HGET', prefix .. 'orders', id)
      local changed = row and string.match(row, ',(%d+),%d+%]$')
      -- What changed again since then stands in that minute's list too.
      if changed and math.floor(tonumber(changed) / MINUTE) == tonumber(minute) then
        left = left + redis.call('HDEL', prefix .. 'orders', id)
      end
    end
  end
  if #things < most then
    redis.call('UNLINK', final, prefix .. 'changed:' .. minute)
    redis.call('ZREM', prefix .. 'minutes', minute)
  end
end
return left
