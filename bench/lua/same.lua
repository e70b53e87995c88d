-- The same request again and again. Arguments: METHOD [FILE with a JSON body].
local here = debug.getinfo(1, "S").source:match("^@(.*/)")
local result = dofile(here .. "result.lua")

function init(args)
  wrk.method = args[1]
  if args[2] then
    local file = assert(io.open(args[2], "rb"))
    wrk.body = file:read("*a")
    file:close()
    wrk.headers["Content-Type"] = "application/json"
  end
end

function done(summary, latency)
  result.write(summary, latency, summary.requests, summary.duration)
end
