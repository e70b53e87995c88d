-- A fixed number of purchases, each with a buyer's token and an Idempotency-Key of its own.
-- Arguments: FILE with one token a line, PATH, PREFIX of the keys, COUNT.
--
-- wrk forgets what is under way when it stops. So that every purchase is counted, connections whose work is done ask
-- /healthz until the last purchase has been answered; only then does wrk stop.
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
local IDLE = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
local BODY = '{"quantity":1}'
local threads = {}
local heads, prefix, count = {}, "", 0
local issued, verified = 0, false
answered, refused, began, ended = 0, 0, 0, 0

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
  prefix, count = args[3], tonumber(args[4])
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
  if issued >= count then return IDLE end
  issued = issued + 1
  return heads[issued % #heads + 1] .. issued .. "\r\n\r\n" .. BODY
end

function response(status)
  if status == 200 then return end
  answered = answered + 1
  if status ~= 202 then refused = refused + 1 end
  if answered == count then
    ended = now()
    wrk.thread:stop()
    ffi.C.kill(ffi.C.getpid(), INTERRUPT) -- wrk's main thread sleeps until the time is over, unless it is woken
  end
end

function done(summary, latency)
  local thread = threads[1]
  summary.errors.status = thread:get("refused")
  result.write(summary, latency, thread:get("answered"), thread:get("ended") - thread:get("began"))
end
