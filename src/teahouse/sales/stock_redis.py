"""The stock ledger on Redis: any number of workers ask, one script decides, and the log tells the archive."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from teahouse.batching import Batcher
from teahouse.caching import MISSING, Cache, Times
from teahouse.clock import Clock
from teahouse.engines.redis import Redis
from teahouse.engines.redis_feed import Feed
from teahouse.problems import NotFound, StockLost, StockNotReducible
from teahouse.sales.archive import Archive
from teahouse.sales.backlog_redis import RedisBacklog
from teahouse.sales.changes_redis import Changes
from teahouse.sales.model import OnSale, Order, OrderEvent, Payment, Reservation, Sale
from teahouse.sales.purchases_redis import Purchases
from teahouse.sales.receipts import Receipts
from teahouse.sales.reconciliation import Audit
from teahouse.sales.reconciliation_redis import Reconciliation
from teahouse.sales.recorder import Recorder
from teahouse.sales.rejoining_redis import Rejoining, looking
from teahouse.sales.scripts_redis import Scripts
from teahouse.sales.showing_redis import Showing

# What readers see of a sale may be this old.
SHOWN_SECONDS = 0.5
_LOOK_SECONDS = 0.25


class RedisStockLedger:
    """A ``StockLedger`` for any number of nodes. Redis decides; the archive has everything for good.

    Atomic: one script decides a batch, with the order of its calls, and writes its entry into the log in the same step.
    Time is Redis' own, the same for every node. ``RedisUnavailable``: nothing was changed. ``OutcomeUnknown``: it may
    have been; the same key asked again gets the true answer, for as long as the order is kept. Refusals are not
    remembered: a key that was refused may buy when stock has returned.

    Durable is what Redis is set to make durable: with ``appendfsync always`` an answer is on disk before it is sent.
    """

    def __init__(
        self,
        redis: Redis,
        feed: Feed,
        archive: Archive,
        *,
        clock: Clock,
        worker: str,
        timed: bool = False,
        max_waiting: int = 10_000,
        max_unrecorded: int = 1_000_000,
        recorded_per_second: int = 5_000,
        recording: Redis | None = None,
        data_dir: Path | None = None,
    ) -> None:
        self._redis = redis
        self._archive = archive
        self._clock = clock
        self._timed = timed
        self.scripts = Scripts(redis, feed.channel)
        self._rejoining = Rejoining(redis, self.scripts, clock=clock)
        self.purchases = Purchases(
            redis,
            feed,
            self.scripts,
            archive,
            self._rejoining,
            clock=clock,
            timed=timed,
            max_waiting=max_waiting,
            max_unrecorded=max_unrecorded,
        )
        self._rejoining.shelves = self.purchases.shelves
        self.changes = Changes(
            redis,
            self.scripts,
            archive,
            self._rejoining,
            clock=clock,
            timed=timed,
            outcomes=self.purchases.outcomes,
            stock_returned=self.purchases.stock_returned,
            max_waiting=max_waiting,
        )
        # Long replies of the log must not hold up purchases.
        bulk = recording or redis
        self.backlog = RedisBacklog(bulk, Scripts(bulk, feed.channel), archive, worker=worker, clock=clock, timed=timed)
        self.recorder = Recorder(self.backlog, archive, per_second=recorded_per_second, stormy=self._is_stormy)
        self._pace = recorded_per_second
        self._most_unrecorded = max_unrecorded
        self._counted = (clock.monotonic(), 0)
        self.reconciliation = Reconciliation(redis, self.scripts, archive, clock=clock)
        self.showing = Showing(redis, archive, self.purchases)
        self.cache: Cache[OnSale] = Cache(
            self.showing.read, name="sales", clock=clock, times=Times(seconds=SHOWN_SECONDS, negative_seconds=1.0)
        )
        self.receipts = Receipts(data_dir, archive, worker=worker, clock=clock) if data_dir else None
        self.purchases.receipts = self.receipts
        self._looking: asyncio.Task[None] | None = None

    @property
    def batchers(self) -> tuple[Batcher[Any, Any], ...]:
        """For /metrics."""
        bought = self.purchases
        return bought.batcher, bought.lookups, *self.changes.batchers, self.cache.batcher

    def _is_stormy(self) -> bool:
        """Whether this worker sells faster than can be recorded, and there is room for what is sold."""
        (then, before), (now, calls) = self._counted, (self._clock.monotonic(), self.purchases.batcher.sizes.calls)
        self._counted = (now, calls)
        fast = calls - before > self._pace * (now - then)
        return fast and self.backlog.waiting < self._most_unrecorded / 2

    # --- life ---

    async def start(self) -> None:
        """Ready to decide when this returns; takes over from a ledger in SQL where there was one."""
        if await self._archive.keeper() != "redis":
            await self.reconciliation.take_over()
        self._rejoining.start()
        self._looking = asyncio.get_running_loop().create_task(
            looking(self._rejoining, _LOOK_SECONDS), name="look whether Redis restarted"
        )
        self.recorder.start()
        if self.receipts is not None:
            self.receipts.start()

    async def aclose(self) -> None:
        """Finishes what was accepted, and takes no more. What is logged another node records, or the next start."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.cache.aclose()
        await self.purchases.aclose()
        await self.changes.aclose()
        await self.recorder.aclose()
        if self.receipts is not None:
            await self.receipts.aclose()

    # --- verbs ---

    def reserve(self, sale_id: str, buyer_id: str, key: str, quantity: int) -> Awaitable[Reservation]:
        """See ``StockLedger``."""
        return self.purchases.reserve(sale_id, buyer_id, key, quantity)

    async def cancel(self, order_id: str, buyer_id: str) -> Order:
        """See ``StockLedger``."""
        return await self.changes.cancel(order_id, buyer_id)

    async def settle(self, order_id: str, amount: int, transaction_id: str) -> Payment:
        """See ``StockLedger``."""
        return await self.changes.settle(order_id, amount, transaction_id)

    async def expire_due(self) -> int:
        """See ``StockLedger``. Every worker asks; each order is returned once."""
        return await self.changes.expire_due()

    async def open(self, sale: Sale) -> None:
        """See ``StockLedger``. A crash half-way leaves a sale that the first buyer opens."""
        await self._archive.add(sale)
        await self.scripts.open(sale)
        await self._archive.opened(sale.id)
        await self.cache.invalidate(sale.id)

    async def restock(self, sale_id: str, stock: int) -> None:
        """See ``StockLedger``."""
        await self.purchases.shelf(sale_id)
        await self._rejoining.check()
        reply = await self.scripts.restock(sale_id, self._clock.now_ms() if self._timed else 0, stock)
        if reply[0] == b"refused":
            raise StockNotReducible(f"{reply[1]} are reserved or sold already.")
        if reply[0] != b"ok":
            raise StockLost
        self.purchases.stock_returned(sale_id)
        await self.cache.invalidate(sale_id)

    # --- what readers see ---

    @property
    def outcomes(self) -> Counter[str]:
        """See ``StockLedger``; of this worker."""
        return self.purchases.outcomes

    @property
    def listeners(self) -> list[Callable[[OrderEvent], None]]:
        """See ``StockLedger``; called on the node where it happened."""
        return self.changes.listeners

    @property
    def live(self) -> int:
        """See ``StockLedger``; of the whole shop, half a second old."""
        return self.changes.live

    def shown(self, sale_id: str) -> OnSale | None:
        """See ``StockLedger``."""
        found = self.cache.cached(sale_id)
        if found is MISSING:
            raise NotFound("There is no such sale.")
        return found

    async def sale(self, sale_id: str) -> OnSale:
        """See ``StockLedger``."""
        found = await self.cache.get(sale_id)
        if found is None:
            raise NotFound("There is no such sale.")
        return found

    async def sales(self, *, before: str | None, limit: int) -> list[OnSale]:
        """See ``StockLedger``."""
        return await self.showing.newest(before=before, limit=limit)

    def known(self, limit: int) -> list[OnSale]:
        """See ``StockLedger``."""
        return [shelf.on_sale() for shelf in self.purchases.shelves][-limit:]

    async def audit(self, sale_id: str) -> Audit:
        """See ``StockLedger``."""
        return await self.reconciliation.audit(sale_id)
