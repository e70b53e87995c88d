"""A truth with a replica that lags, and nodes that cache it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from teahouse.caching import Cache, SharedLayer, Times
from teahouse.clock import Clock
from tests.clocks import ManualClock

# No chance in when an entry ends.
STEADY = Times(jitter=0.0)


class Truth:
    """Values by key, each a number that rises; ``load`` may be held up after it has read, and may fail."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lag = 0.0
        self.loads: list[tuple[list[str], bool]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self._history: dict[str, list[tuple[float, int]]] = {}

    def write(self, key: str, value: int) -> None:
        self._history.setdefault(key, []).append((self.clock.monotonic(), value))

    def at(self, key: str, moment: float) -> int | None:
        known = [value for written, value in self._history.get(key, []) if written <= moment]
        return known[-1] if known else None

    async def load(self, keys: Sequence[str], *, fresh: bool) -> Sequence[int | None]:
        self.loads.append((list(keys), fresh))
        moment = self.clock.monotonic() - (0.0 if fresh else self.lag)
        values = [self.at(key, moment) for key in keys]
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return values


def cache_of(truth: Truth, shared: SharedLayer[int] | None = None, *, times: Times = STEADY, **options) -> Cache[int]:
    return Cache(truth.load, name="numbers", clock=truth.clock, shared=shared, times=times, **options)


def manual_truth() -> tuple[ManualClock, Truth]:
    clock = ManualClock()
    return clock, Truth(clock)
