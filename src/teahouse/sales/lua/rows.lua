-- Put before each of the other scripts.
--
-- An order is one row, the same text here, in the log and in SQL's hands:
--   ["id","sale","buyer","key",quantity,amount,"status",created,pay_before,changed,version]
-- Amounts may be larger than a Lua number holds exactly, so rows are never decoded and encoded again: what changes is
-- only the tail, which is matched as text.
--
-- Keys of one shard share a hash tag; those that a script forms itself begin with the prefix it is given.

local MINUTE = 60000

local function whole(number)
  return string.format('%.0f', number)
end

-- The moment in Unix milliseconds: Redis' own clock is the one clock of all nodes ('0'), unless a test brings another.
local function moment(given)
  if given ~= '0' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What happened, for the recorder. Written in the step that made it happen, so that nothing can come in between.
-- Returns the entry's place in the log: milliseconds that never go back, whatever becomes of the clock.
local function log(prefix, now, sale, seq, tally, rows, payments, units)
  local id = redis.call(
    'XADD', prefix .. 'log', '*', 'sale', sale, 'seq', whole(seq), 'at', whole(now),
    'tally', table.concat(tally, ','), 'count', units, 'orders', table.concat(rows, ','),
    'payments', table.concat(payments, ',')
  )
  redis.call('INCRBY', prefix .. 'unrecorded', units)
  return string.match(id, '^%d+')
end
