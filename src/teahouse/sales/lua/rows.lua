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

-- A buyer's orders of a minute are in the hash recent:<minute>: buyer → ids, the latest last. A sorted set would cost
-- twice as much. Ids are never rewritten more than CHUNK at a time: what is full moves to a field of its own, '<' and
-- its last id, and the ids that follow begin with that field's name.
local ID, CHUNK = 32, 8

-- Orders of these buyers were made or changed in this minute; ids: buyer → one id or several, one after the other.
local function note_recent(prefix, minute, buyers, ids)
  local key = prefix .. 'recent:' .. minute
  local chunks, fields = redis.call('HMGET', key, unpack(buyers)), {}
  for i, buyer in ipairs(buyers) do
    local chunk, new = chunks[i], ids[buyer]
    if chunk and #chunk >= ID * CHUNK then
      local moved = '<' .. string.sub(chunk, -ID)
      fields[#fields + 1], fields[#fields + 2] = moved, chunk
      new = moved .. new
    elseif chunk then
      new = chunk .. new
    end
    fields[#fields + 1], fields[#fields + 2] = buyer, new
  end
  redis.call('HSET', key, unpack(fields))
end
