"""Limits in memory, for a server that is one process."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

from teahouse.accounts.throttle import Limit
from teahouse.clock import Clock

_MOST_KEYS = 50_000


class _Bucket(NamedTuple):
    level: float
    updated: float


class Buckets:
    """A leaky bucket for each key: ``limit`` events at once, and one more every ``seconds / limit`` after that.

    Bounded to ``most`` keys; past that the key whose last event is longest ago is forgotten.
    """

    def __init__(self, limit: int, seconds: float, *, clock: Clock, most: int = _MOST_KEYS) -> None:
        self._limit = limit
        self._leak = limit / seconds
        self._seconds = seconds
        self._clock = clock
        self._most = most
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, key: str) -> int:
        """Whole seconds until ``key`` may go on; 0 when it may now."""
        over = self._level(key) + 1 - self._limit
        # A hair of tolerance: a client that waits as long as it was told is not sent away again.
        return math.ceil(over / self._leak - 1e-6) if over > 1e-9 else 0

    def add(self, key: str) -> None:
        """One event of ``key``."""
        level = self._level(key) + 1
        self._buckets[key] = _Bucket(level, self._clock.monotonic())
        self._buckets.move_to_end(key)
        self._tidy()

    def _level(self, key: str) -> float:
        bucket = self._buckets.get(key)
        if bucket is None:
            return 0.0
        return max(0.0, bucket.level - (self._clock.monotonic() - bucket.updated) * self._leak)

    def _tidy(self) -> None:
        # Oldest first: whatever had no event for a whole window (twice, as a bucket may be over-full) has run dry.
        dry = self._clock.monotonic() - 2 * self._seconds
        while self._buckets:
            key, bucket = next(iter(self._buckets.items()))
            if len(self._buckets) <= self._most and bucket.updated > dry:
                return
            del self._buckets[key]


class ThrottleMemory:
    """A ``Throttle``: what it counts does not outlive the process."""

    def __init__(self, *, clock: Clock, most: int = _MOST_KEYS) -> None:
        self._clock = clock
        self._most = most
        # One entry for each limit there is in the program.
        self._buckets: dict[Limit, Buckets] = {}

    async def wait(self, limit: Limit, key: str) -> int:
        """See ``Throttle``."""
        return self._of(limit).wait(key)

    async def add(self, limit: Limit, key: str) -> None:
        """See ``Throttle``."""
        self._of(limit).add(key)

    async def take(self, limit: Limit, key: str) -> int:
        """See ``Throttle``."""
        buckets = self._of(limit)
        wait = buckets.wait(key)
        if not wait:
            buckets.add(key)
        return wait

    def _of(self, limit: Limit) -> Buckets:
        buckets = self._buckets.get(limit)
        if buckets is None:
            buckets = self._buckets[limit] = Buckets(limit.events, limit.seconds, clock=self._clock, most=self._most)
        return buckets
