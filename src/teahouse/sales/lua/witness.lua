-- After Redis restarted or another server took over: does it still know what a worker was told?
--
-- KEYS  sale
-- ARGV  the highest seq that the worker has seen of the sale
-- Reply 1 where it does; 0 where it does not, and the sale sells nothing more until it has been repaired

local seq = redis.call('HGET', KEYS[1], 'seq')
if seq and tonumber(seq) >= tonumber(ARGV[1]) then
  return redis.call('HEXISTS', KEYS[1], 'lost') == 1 and 0 or 1
end
if seq or tonumber(ARGV[1]) > 0 then
  -- A sale that is gone is marked too: whoever knows only that it was never opened must not open it anew.
  redis.call('HSET', KEYS[1], 'lost', '1')
end
return 0
