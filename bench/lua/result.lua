-- Prints wrk's summary as one line of JSON, so that nothing has to read its prose.
local result = {}

function result.write(summary, latency, requests, micros)
  local errors = summary.errors
  io.write(string.format(
    '\nbench-result {"requests":%d,"micros":%d,"p50":%.1f,"p99":%.1f,"refused":%d,"broken":%d}\n',
    requests, micros, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end

return result
