"""Two nodes over one Redis and one archive, which one schedule after the other uses; what answers they give."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select

from teahouse.engines.redis import Redis
from teahouse.problems import Problem
from teahouse.sales import OnSale, ProductDraft, SaleDraft
from teahouse.sales import keys_redis as keys
from teahouse.sales.archive import Entry, Refused
from teahouse.sales.archive_sql import SqlArchive
from teahouse.sales.orders_sql import orders
from teahouse.sales.payments_sql import payments
from teahouse.sales.sales_sql import sales
from tests.clocks import ManualClock
from tests.sales.shop import FaultyDatabase
from tests.sales.shop_redis import Node
from tests.sales.stock_model import LASTS, LIMIT, PAY, PRICE, ModelOrder

STOCK = 4
HEARD_SECONDS = 5.0


class KeepingArchive(SqlArchive):
    """Keeps every entry that it was given, so that a test can give it again."""

    def __init__(self, database: FaultyDatabase) -> None:
        super().__init__(database)
        self.given: list[Entry] = []

    async def record(self, entries: Sequence[Entry]) -> list[Refused]:
        self.given += entries
        return await super().record(entries)


class LightNode(Node):
    """A ``Node`` whose connections outlive its ledger, and whose tasks do not run."""

    def assemble(self) -> None:
        self.feed._handlers.clear()
        self._assemble()
        self.ledger._rejoining.start()
        self.feed.on("barrier", self._hear)

    def _hear(self, text: str) -> None:
        self.heard = text


class World:
    """What all schedules share. Each begins with everything empty."""

    def __init__(self, runner: asyncio.Runner, redis_url: str, url: str) -> None:
        self.runner = runner
        self.clock = ManualClock()
        self.database = FaultyDatabase(url)
        self.redis = Redis(redis_url)
        self._redis_url = redis_url
        self._barriers = 0

    async def open(self) -> None:
        await self.database.connect()
        await self.database.create_all()
        await self.redis.connect()
        self.archive = KeepingArchive(self.database)
        await self.archive.hand_over("redis")
        self.nodes = [LightNode(self._redis_url, self.database, self.clock, name) for name in ("one", "two")]
        for node in self.nodes:
            node.archive = self.archive
            await node.redis.connect()
            await node.feed.start()
            node.assemble()
        product = await self.nodes[0].service.add_product(ProductDraft("Tea", "", (), 500))
        self.product_id = product.id

    async def aclose(self) -> None:
        for node in self.nodes:
            await node.feed.aclose()
            await node.redis.aclose()
        await self.redis.aclose()
        await self.database.aclose()

    async def begin(self) -> None:
        await self.redis.ask("FLUSHDB")
        await self.database.write(_empty)
        self.archive.given.clear()
        for node in self.nodes:
            node.assemble()
        self.sales = [await self._open() for _ in range(2)]

    async def _open(self) -> OnSale:
        now = self.clock.now_ms()
        terms = SaleDraft(self.product_id, STOCK, PRICE, now, now + LASTS * 1000, LIMIT, PAY)
        return await self.nodes[0].service.open_sale(terms)

    def crash(self, number: int) -> None:
        """Its ledger is dropped as it is: nothing is finished, nothing handed back."""
        self.nodes[number].assemble()

    # --- what callers do; a problem is told by its name ---

    async def buy(self, node: int, wanted: Sequence[tuple[int, str, str, int]]) -> list[Any]:
        return await self.buy_everywhere([(node, ask) for ask in wanted])

    async def buy_everywhere(self, wanted: Sequence[tuple[int, tuple[int, str, str, int]]]) -> list[Any]:
        calls = [
            self.nodes[node].ledger.reserve(self.sales[sale].sale.id, buyer, key, quantity)
            for node, (sale, buyer, key, quantity) in wanted
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for node in self.nodes:
            # Who has bought of a sold-out sale is known, and the flag counts.
            await asyncio.gather(*node.ledger.purchases._learning)
        return [_told(answer) for answer in answers]

    async def cancel(self, node: int, order_id: str, buyer: str) -> str:
        try:
            order = await self.nodes[node].ledger.cancel(order_id, buyer)
        except Problem as problem:
            return type(problem).__name__
        await self._all_have_heard()
        return order.status

    async def pay(self, node: int, order_id: str, amount: int, transaction: str) -> str:
        try:
            payment = await self.nodes[node].ledger.settle(order_id, amount, transaction)
        except Problem as problem:
            return type(problem).__name__
        return f"{payment.state} {payment.reason}"

    async def expire(self, node: int) -> int:
        expired = await self.nodes[node].ledger.expire_due()
        await self._all_have_heard()
        return expired

    async def restock(self, node: int, sale: int, stock: int) -> str:
        try:
            await self.nodes[node].ledger.restock(self.sales[sale].sale.id, stock)
        except Problem as problem:
            return type(problem).__name__
        await self._all_have_heard()
        return "ok"

    async def _all_have_heard(self) -> None:
        # Returned stock is told; a node that has not heard of it yet may say "sold out" for that moment.
        self._barriers += 1
        text = str(self._barriers)
        await self.nodes[0].feed.publish("barrier", text)
        async with asyncio.timeout(HEARD_SECONDS):
            while any(getattr(node, "heard", "") != text for node in self.nodes):
                await asyncio.sleep(0)

    # --- what is seen ---

    async def statuses(self, node: int, wanted: Sequence[ModelOrder]) -> list[str | None]:
        found = await asyncio.gather(*(self.nodes[node].orders.get(each.id, each.buyer) for each in wanted))
        return [order and order.status for order in found]

    async def pages(self, node: int, buyer: str, limit: int) -> list[tuple[str, str]]:
        seen: list[tuple[str, str]] = []
        before = None
        while page := await self.nodes[node].orders.page(buyer, before=before, limit=limit):
            seen += [(order.reservation.id, order.status) for order in page]
            before = page[-1].reservation.id
        return seen

    async def tallies(self) -> list[tuple[int, ...]]:
        names = ("initial", "remaining", "reserved", "sold")
        found = await asyncio.gather(
            *(self.redis.ask("HMGET", keys.sale_key(sale.sale.id), *names) for sale in self.sales)
        )
        return [tuple(int(each) for each in values) for values in found]

    async def archived(self) -> tuple[dict[str, Any], dict[str, Any], list[tuple[int, ...]]]:
        """Orders by id, payments by transaction, and the counters of each sale, as SQL has them."""
        places = {sale.sale.id: place for place, sale in enumerate(self.sales)}
        async with self.database.reading() as connection:
            rows = {
                row.id: (
                    places[row.sale_id], row.buyer_id, row.idempotency_key, row.quantity, row.status, row.version
                )
                for row in await connection.execute(select(orders))
            }  # fmt: skip
            paid = {
                row.transaction_id: (row.order_id, row.amount, row.state, row.reason)
                for row in await connection.execute(select(payments))
            }
            counters = {
                row.id: (row.initial, row.remaining, row.reserved, row.sold)
                for row in await connection.execute(select(sales))
            }
        return rows, paid, [counters[sale_id] for sale_id in places]

    async def left_over(self) -> int:
        """How much the log still holds, counts or has set aside."""
        logs, counts, aside = await asyncio.gather(
            asyncio.gather(*(self.redis.ask("XLEN", keys.log_key(shard)) for shard in keys.SHARDS)),
            asyncio.gather(*(self.redis.ask("GET", keys.unrecorded_key(shard)) for shard in keys.SHARDS)),
            asyncio.gather(*(self.redis.ask("HLEN", keys.set_aside_key(shard)) for shard in keys.SHARDS)),
        )
        return sum(logs) + sum(abs(int(each or 0)) for each in counts) + sum(aside)

    # --- recording ---

    async def take(self, node: int) -> list[tuple[str, Entry]]:
        """What a recorder of that node holds, which then loses the lease."""
        backlog = self.nodes[node].ledger.backlog
        assert await backlog.lead()
        taken = await backlog.take()
        await self.redis.ask("DEL", keys.RECORDER_LEASE)
        return taken

    async def record_late(self, node: int, taken: Sequence[tuple[str, Entry]], *, finishes: bool) -> None:
        assert await self.archive.record([entry for _, entry in taken]) == []
        if finishes:
            await self.nodes[node].ledger.backlog.finish(taken)

    async def deliver_again(self, order: random.Random) -> None:
        again = [entry for entry in self.archive.given if order.random() < 0.5]
        order.shuffle(again)
        assert await self.archive.record(again) == []

    async def tidy(self, node: int) -> None:
        backlog = self.nodes[node].ledger.backlog
        backlog._tidy_at = 0.0
        await backlog.tidy()


def _told(answer: Any) -> Any:
    if isinstance(answer, Problem):
        return type(answer).__name__
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _empty(connection: Any) -> None:
    for table in (orders, payments, sales):
        connection.execute(delete(table))
