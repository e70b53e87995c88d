"""After Redis restarted or another server took over: nobody sells before all have said what they were told.

A server that comes back may have lost its last moments (https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/).
Each worker then shows it the highest change of each sale that it has seen. Where Redis knows less, the sale is marked
as lost and sells nothing more. A worker that was told less than others waits until those have had time to come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from teahouse.clock import Clock
from teahouse.engines.redis import Redis
from teahouse.problems import Problem, RedisUnavailable
from teahouse.sales.scripts_redis import Scripts
from teahouse.sales.shelf import Shelf

# Reconnecting takes a second at most, and showing what one knows a moment.
REJOIN_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Rejoining:
    """Knows which run of Redis this worker last agreed with."""

    def __init__(self, redis: Redis, scripts: Scripts, *, clock: Clock) -> None:
        self._redis = redis
        self._scripts = scripts
        self.shelves: Iterable[Shelf] = ()
        self._clock = clock
        self._agreed = ""
        self._shown = ""
        self._free_at = 0.0
        self._turn = asyncio.Lock()

    def start(self) -> None:
        """Agrees with the server as it is: this worker was told nothing yet."""
        self._agreed = self._redis.incarnation

    async def check(self) -> None:
        """Returns at once as a rule. Raises ``RedisUnavailable`` while it is not sure that nothing is lost."""
        if self._redis.incarnation == self._agreed:
            return
        async with self._turn:
            if self._redis.incarnation != self._shown:
                await self._show()
        if self._clock.monotonic() < self._free_at:
            raise RedisUnavailable("Redis has just come back. Selling goes on when every node has looked.")
        self._agreed = self._shown

    async def _show(self) -> None:
        incarnation = self._redis.incarnation
        shelves = list(self.shelves)
        known = await asyncio.gather(*(self._scripts.witness(shelf.sale.id, shelf.seq) for shelf in shelves))
        for shelf, knows in zip(shelves, known, strict=True):
            if not knows:
                _log.error("Redis has lost a part of sale %s; run: teahouse reconcile --repair", shelf.sale.id)
        self._shown = incarnation
        self._free_at = self._clock.monotonic() + REJOIN_SECONDS


async def looking(rejoining: Rejoining, every_seconds: float) -> None:
    """Shows what is known soon after Redis came back, also where nobody buys just then; runs until cancelled."""
    while True:
        await asyncio.sleep(every_seconds)
        try:
            await rejoining.check()
        except Problem as problem:
            _log.debug("not agreed yet: %s", problem.detail)
