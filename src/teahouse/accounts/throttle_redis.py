"""Limits in Redis, which hold over all nodes together."""

from __future__ import annotations

import hashlib

from teahouse.accounts.throttle import Limit
from teahouse.clock import Clock
from teahouse.engines.redis import Redis, Script

# KEYS: the bucket. ARGV: events, seconds, what to do, the time in seconds (below 0: the server's own).
# A hair of tolerance: a client that waits as long as it was told is not sent away again.
_BUCKET = Script("""
local events, leak = tonumber(ARGV[1]), tonumber(ARGV[1]) / tonumber(ARGV[2])
local now = tonumber(ARGV[4])
if now < 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local kept, level, wait = redis.call('HMGET', KEYS[1], 'level', 'at'), 0, 0
if kept[1] then
  level = math.max(0, tonumber(kept[1]) - math.max(0, now - tonumber(kept[2])) * leak)
end
local over = level + 1 - events
if over > 1e-9 then
  wait = math.ceil(over / leak - 1e-6)
end
if ARGV[3] == 'add' or (ARGV[3] == 'take' and wait == 0) then
  redis.call('HSET', KEYS[1], 'level', string.format('%.17g', level + 1), 'at', string.format('%.17g', now))
  redis.call('PEXPIRE', KEYS[1], math.ceil((level + 1) / leak * 1000))
end
return wait
""")


class ThrottleRedis:
    """A ``Throttle``; one script call each. A bucket is forgotten when it has run dry.

    Time is the server's, so that nodes whose clocks differ agree; ``clock`` takes its place in tests.
    """

    def __init__(self, redis: Redis, *, clock: Clock | None = None) -> None:
        self._redis = redis
        self._clock = clock

    async def wait(self, limit: Limit, key: str) -> int:
        """See ``Throttle``."""
        return await self._ask(limit, key, "wait")

    async def add(self, limit: Limit, key: str) -> None:
        """See ``Throttle``."""
        await self._ask(limit, key, "add")

    async def take(self, limit: Limit, key: str) -> int:
        """See ``Throttle``."""
        return await self._ask(limit, key, "take")

    async def _ask(self, limit: Limit, key: str, what: str) -> int:
        now = -1.0 if self._clock is None else self._clock.monotonic()
        # A name that somebody typed may be long, or a password in the wrong field: only its hash is kept.
        hashed = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        bucket = f"teahouse:throttle:{limit.name}:{hashed}"
        waits: int = await self._redis.run(_BUCKET, [bucket], [limit.events, limit.seconds, what, now])
        return waits
