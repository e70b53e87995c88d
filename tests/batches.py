"""An engine whose flushes a test begins and ends."""

from __future__ import annotations

import asyncio

from teahouse.batching import Batcher


class Engine:
    """A flush that waits until the test lets it end, and remembers what it was given."""

    def __init__(self, *, gated: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.under_way = 0
        self.most_under_way = 0
        self.gate = asyncio.Semaphore(0)
        self.gated = gated
        self.outcome = lambda calls: [call * 10 for call in calls]

    async def flush(self, calls: list[int]):
        self.batches.append(list(calls))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.gated:
                await self.gate.acquire()
            return self.outcome(calls)
        finally:
            self.under_way -= 1


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def batcher(engine: Engine, **options) -> Batcher[int, int]:
    return Batcher(engine.flush, name="tests", **options)
