-- A fixed number of purchases, each with a buyer's token and an Idempotency-Key of its own.
-- Arguments: FILE with one token a line, PATH, PREFIX of the keys, COUNT, CONNECTIONS.
--
-- wrk forgets what is under way when it stops. A connection asks for the next thing only when it has its answer: so when
-- all has been issued, each connection asks /healthz a few times, and by then every purchase has been answered. There is
-- no response() on purpose: wrk would build a table of the headers of each answer, which costs more than a purchase.
-- That there was one order for each purchase is for the books to show.
local here = debug.getinfo(1, "S").source:match("^@(.*/)")
local result = dofile(here .. "result.lua")
local ffi = require("ffi")
ffi.cdef([[
  typedef struct { long seconds; long nanoseconds; } bench_time;
  int clock_gettime(int clock, bench_time *time);
  int getpid(void);
  int kill(int process, int signal);
]])

local MONOTONIC, INTERRUPT = 1, 2
local ROUNDS = 10
local IDLE = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
local BODY = '{"quantity":1}'
local threads = {}
local heads, prefix, count, connections = {}, "", 0, 0
local verified = false
issued = 0
began, ended, idle = 0, 0, 0

local function now()
  local time = ffi.new("bench_time")
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) * 1e6 + tonumber(time.nanoseconds) / 1e3
end

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  local path = args[2]
  prefix, count, connections = args[3], tonumber(args[4]), tonumber(args[5])
  for token in io.lines(args[1]) do
    heads[#heads + 1] = "POST " .. path .. " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " .. token
      .. "\r\nContent-Type: application/json\r\nContent-Length: " .. #BODY .. "\r\nIdempotency-Key: " .. prefix
  end
end

function request()
  if not verified then -- wrk asks once before it starts and sends nothing
    verified = true
    return IDLE
  end
  if issued == 0 then began = now() end
  if issued < count then
    issued = issued + 1
    return heads[issued % #heads + 1] .. issued .. "\r\n\r\n" .. BODY
  end
  idle = idle + 1
  if idle == connections then
    ended = now()
  elseif idle == ROUNDS * connections then
    wrk.thread:stop()
    ffi.C.kill(ffi.C.getpid(), INTERRUPT) -- wrk's main thread sleeps until the time is over, unless it is woken
  end
  return IDLE
end

local function count_of(summary, thread)
  return math.min(thread:get("issued"), summary.requests) - summary.errors.status
end

function done(summary, latency)
  local thread = threads[1]
  local micros = thread:get("ended") - thread:get("began")
  result.write(summary, latency, count_of(summary, thread), micros)
end
