"""A shop on a real SQLite file, with a clock and a database that a test owns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import text

from teahouse.engines.sql import Database
from teahouse.problems import DatabaseUnavailable
from teahouse.sales import OnSale, ProductDraft, SaleDraft, SalesService, Tally
from teahouse.sales.catalogue_sql import SqlCatalogue
from teahouse.sales.orders_sql import SqlOrders
from teahouse.sales.reconciliation_sql import reconcile
from teahouse.sales.stock_sql import SqlStockLedger
from tests.clocks import ManualClock

ANN, BOB, CAT, DAN = (letter * 32 for letter in "abcd")
PAUSE_SECONDS = 2


class FaultyDatabase(Database):
    """Fails where a test says: ``fault`` is for the next write, ``blind`` for every read.

    ``before-commit`` rolls back; ``after-commit`` loses the answer of a commit that happened.
    """

    fault: str | None = None
    blind = False

    @asynccontextmanager
    async def transaction(self, caller=None):
        fault, self.fault = self.fault, None
        async with super().transaction(caller) as connection:
            yield connection
            if fault == "before-commit":
                raise DatabaseUnavailable("the disk is full")
        if fault == "after-commit":
            raise DatabaseUnavailable("the connection was cut")

    async def write(self, work, caller=None):
        fault, self.fault = self.fault, None

        def faulty(connection):
            result = work(connection)
            if fault == "before-commit":
                raise DatabaseUnavailable("the disk is full")
            return result

        result = await super().write(faulty, caller)
        if fault == "after-commit":
            raise DatabaseUnavailable("the connection was cut")
        return result

    @asynccontextmanager
    async def reading(self, caller=None):
        if self.blind:
            raise DatabaseUnavailable("out of reach")
        async with super().reading(caller) as connection:
            yield connection


class Shop:
    """The service over the ledger, without the task that returns unpaid stock: tests call ``expire_due``."""

    def __init__(self, url: str) -> None:
        self.clock = ManualClock()
        self.database = FaultyDatabase(url)
        self.product_id = ""
        self._assemble()

    def _assemble(self) -> None:
        self.ledger = SqlStockLedger(self.database, clock=self.clock)
        self.service = SalesService(
            catalogue=SqlCatalogue(self.database),
            orders=SqlOrders(self.database),
            ledger=self.ledger,
            clock=self.clock,
        )

    async def open(self) -> None:
        await self.database.connect()
        await self.database.create_all()
        await self._start()
        product = await self.service.add_product(ProductDraft("Tea", "", (), 500))
        self.product_id = product.id

    async def _start(self) -> None:
        await self.ledger.start()

    async def restart(self) -> None:
        """As after a crash: memory is gone, the database is not."""
        await self.ledger.aclose()
        self._assemble()
        await self.ledger.start()

    async def aclose(self) -> None:
        await self.ledger.aclose()
        await self.database.aclose()

    async def sale(
        self, *, stock: int = 10, limit: int = 1, price: int = 300, starts: int = 0, lasts: int = 3600, pay: int = 60
    ) -> OnSale:
        now = self.clock.now_ms()
        terms = SaleDraft(
            product_id=self.product_id,
            stock=stock,
            price=price,
            starts_at=now + starts * 1000,
            ends_at=now + (starts + lasts) * 1000,
            per_buyer_limit=min(limit, stock),
            pay_within_seconds=pay,
        )
        return await self.service.open_sale(terms)

    async def buy(self, sale: OnSale, buyer: str, key: str = "k", quantity: int = 1):
        return await self.service.purchase(buyer, sale.sale.id, key, quantity)

    async def pay(self, order_id: str, *, amount: int = 300, transaction: str | None = None):
        return await self.service.settle(order_id, amount, transaction or f"t-{order_id}")

    async def status(self, buyer: str, order_id: str) -> str:
        return (await self.service.order(buyer, order_id)).status

    async def tally(self, sale: OnSale) -> Tally:
        """The counters, after checking that nothing differs anywhere."""
        audit = await self.service.audit(sale.sale.id)
        assert audit.differences == ()
        assert audit.tally.initial == audit.tally.remaining + audit.tally.reserved + audit.tally.sold
        assert (await self.service.sale(sale.sale.id)).remaining == audit.tally.remaining
        assert await reconcile(self.database, clock=self.clock) == []
        return audit.tally

    async def close_what_is_over(self) -> None:
        """As happens by itself a minute after a sale's end."""
        await self.ledger.expire_due()

    async def sql(self, statement: str) -> None:
        """A hand in the database."""
        async with self.database.transaction() as connection:
            await connection.execute(text(statement))


@asynccontextmanager
async def opened_shop(folder: Path, url: str | None = None) -> AsyncIterator[Shop]:
    """In a file of that folder, or in the empty database at ``url``."""
    shop = Shop(url or f"sqlite:///{folder}/shop.db")
    await shop.open()
    try:
        yield shop
    finally:
        await shop.aclose()
