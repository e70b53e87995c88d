"""A shop whose stock Redis decides about, over any archive: one node of it, or several side by side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from teahouse.engines.redis import Redis
from teahouse.engines.redis_feed import Feed
from teahouse.sales import OnSale, SalesService, Tally
from teahouse.sales import keys_redis as keys
from teahouse.sales.archive_sql import SqlArchive
from teahouse.sales.catalogue_sql import SqlCatalogue
from teahouse.sales.orders_redis import RedisOrders
from teahouse.sales.reconciliation_sql import reconcile
from teahouse.sales.stock_redis import RedisStockLedger
from tests.clocks import ManualClock
from tests.sales.shop import FaultyDatabase, Shop


class Node:
    """One worker of the shop: a connection, a feed, a ledger and a service of its own.

    Its recorder stands still, unless ``recording``: tests say when it runs (``record``).
    """

    def __init__(self, url: str, database: FaultyDatabase, clock: ManualClock, name: str, **options: int) -> None:
        self.redis = Redis(url, name=name)
        self.feed = Feed(self.redis)
        self.archive = SqlArchive(database)
        self._database = database
        self._clock = clock
        self._name = name
        self._options = options
        self._lives = 0
        self._assemble()

    def _assemble(self) -> None:
        self._lives += 1
        self.ledger = RedisStockLedger(
            self.redis,
            self.feed,
            self.archive,
            clock=self._clock,
            worker=f"{self._name}-{self._lives}",
            timed=True,
            **self._options,
        )
        self.orders = RedisOrders(self.redis, self.ledger.scripts, self.archive)
        self.service = SalesService(
            catalogue=SqlCatalogue(self._database), orders=self.orders, ledger=self.ledger, clock=self._clock
        )

    async def open(self, *, recording: bool = False) -> None:
        await self.redis.connect()
        await self.feed.start()
        await self._start(recording=recording)

    async def _start(self, *, recording: bool) -> None:
        await self.ledger.start()
        if not recording:
            await self.ledger.recorder.aclose()

    async def restart(self) -> None:
        """Another process in its place, which knows nothing yet."""
        await self.ledger.aclose()
        self._assemble()
        await self._start(recording=False)

    async def record(self) -> int:
        """Everything that is logged is in the archive when this returns, whoever had begun with it."""
        await self.redis.ask("DEL", keys.RECORDER_LEASE)
        return await self.ledger.recorder.drain()

    async def aclose(self) -> None:
        await self.ledger.aclose()
        await self.feed.aclose()
        await self.redis.aclose()


class RedisShop(Shop):
    """``Shop`` over one node, with the recorder that a test drives."""

    def __init__(self, url: str, redis_url: str, **options: int) -> None:
        self._redis_url = redis_url
        self._options = options
        super().__init__(url)

    def _assemble(self) -> None:
        self.node = self.another_node("one")
        self._adopt()

    def _adopt(self) -> None:
        self.ledger, self.service = self.node.ledger, self.node.service
        self.redis, self.archive, self.feed = self.node.redis, self.node.archive, self.node.feed

    def another_node(self, name: str, **options: int) -> Node:
        """A second worker of the same shop; open and close it."""
        return Node(self._redis_url, self.database, self.clock, name, **{**self._options, **options})

    async def _start(self) -> None:
        await self.node.open()

    async def restart(self) -> None:
        """As after a crash: what the node knew is gone, Redis and the database are not."""
        await self.node.restart()
        self._adopt()

    async def record(self) -> int:
        """See ``Node.record``."""
        return await self.node.record()

    async def close_what_is_over(self) -> None:
        """See ``Shop``."""
        await self.record()
        self.ledger.backlog._tidy_at = 0.0
        await self.ledger.backlog.tidy()

    async def aclose(self) -> None:
        await self.node.aclose()
        await self.database.aclose()

    async def tally(self, sale: OnSale) -> Tally:
        """Redis' counters, after checking that log, SQL and what people see agree with them."""
        before = await self.service.audit(sale.sale.id)
        assert before.differences == (), before
        await self.record()
        audit = await self.service.audit(sale.sale.id)
        assert (audit.differences, audit.tally) == ((), before.tally)
        assert audit.tally.initial == audit.tally.remaining + audit.tally.reserved + audit.tally.sold
        archived = (await self.archive.sales([sale.sale.id]))[sale.sale.id]
        assert archived.tally == audit.tally
        [seen] = await self.ledger.showing.read([sale.sale.id], fresh=True)
        assert seen is not None
        assert seen.remaining == audit.tally.remaining
        assert await reconcile(self.database, clock=self.clock) == []
        return audit.tally


@asynccontextmanager
async def opened_redis_shop(
    redis_url: str, folder: Path, url: str | None = None, **options: int
) -> AsyncIterator[RedisShop]:
    """Over an archive in a file of that folder, or in the empty database at ``url``; Redis has to be empty too."""
    shop = RedisShop(url or f"sqlite:///{folder}/shop.db", redis_url, **options)
    await shop.open()
    try:
        yield shop
    finally:
        await shop.aclose()
