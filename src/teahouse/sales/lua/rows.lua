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
  return string.format('%d', number)
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

local ID = 32

-- What a buyer has of a sale is one field of the hash bought:<sale>: the units that count for the limit, then the end of
-- their latest slot, from its space on. The slots lead on to all of the buyer's orders, the latest first: each holds the
-- order's id and the end of the slot before it. So a list of a buyer's orders costs a purchase no write of its own.
local function read_bought(text)
  if not text then
    return 0, ''
  end
  local space = string.find(text, ' ', 1, true) or #text + 1
  return tonumber(string.sub(text, 1, space - 1)), string.sub(text, space)
end
