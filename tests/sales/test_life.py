"""The shop's own task, its memory, and its tables."""

from __future__ import annotations

import asyncio
import sqlite3
import time

import pytest

from teahouse.engines.sql import Database
from teahouse.migrations import upgrade
from teahouse.problems import IdempotencyMismatch, SaleEnded, ShuttingDown
from teahouse.sales import service
from teahouse.sales.model import Reserve
from teahouse.sales.stock import CLOSE_AFTER_MS, Refusals
from tests.sales.shop import ANN, BOB, opened_shop

DEADLINE_SECONDS = 10
TABLES = ("products", "sales", "orders", "payments", "stock_ledger")


@pytest.fixture
def keeper():
    """The memory, the faults and the tables of the ledger in SQL."""
    return "sql"


async def until(condition):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def test_a_running_shop_returns_unpaid_stock_by_itself_also_after_a_failure(shop, monkeypatch):
    monkeypatch.setattr(service, "EXPIRY_SECONDS", 0.001)
    sale = await shop.sale(pay=60)
    made = await shop.buy(sale, ANN)
    shop.clock.advance(60)
    await shop.service.start()
    shop.database.fault = "before-commit"

    async def expired():
        shop.clock.advance(1)
        return await shop.status(ANN, made.id) == "expired"

    await until(expired)
    await shop.service.stop()
    assert shop.database.fault is None


async def test_a_shop_that_stops_finishes_what_it_accepted_and_takes_no_more(shop):
    sale = await shop.sale(stock=50)
    await shop.service.start()
    accepted = [asyncio.ensure_future(shop.buy(sale, f"{n:032x}")) for n in range(50)]
    await asyncio.sleep(0)
    await shop.service.stop()
    assert len({made.id for made in await asyncio.gather(*accepted)}) == 50
    with pytest.raises(ShuttingDown):
        await shop.buy(sale, ANN)


async def test_memory_of_a_sale_that_is_over_and_settled_is_freed(shop):
    sale = await shop.sale(stock=50, limit=2, lasts=10, pay=5)
    await asyncio.gather(*(shop.buy(sale, f"{n:032x}") for n in range(30)))
    shop.clock.advance(10)
    await shop.ledger.expire_due()
    stock = shop.ledger._book.sales[sale.sale.id]
    assert len(stock.by_slot) == 30
    shop.clock.advance(CLOSE_AFTER_MS / 1000)
    await shop.ledger.expire_due()
    assert (len(stock.by_slot), len(stock.held), len(stock.refusals)) == (0, 0, 0)
    assert (await shop.tally(sale)).remaining == 50


async def test_many_repeats_of_a_closed_sale_are_looked_up_together(shop):
    sale = await shop.sale(stock=50, lasts=10, pay=5)
    made = await asyncio.gather(*(shop.buy(sale, f"{n:032x}") for n in range(40)))
    shop.clock.advance(10 + CLOSE_AFTER_MS / 1000)
    await shop.ledger.expire_due()
    await shop.ledger.expire_due()
    assert await asyncio.gather(*(shop.buy(sale, f"{n:032x}") for n in range(40))) == made
    with pytest.raises(IdempotencyMismatch):
        await shop.buy(sale, f"{1:032x}", quantity=2)
    assert shop.ledger._recalls.sizes.calls == 41
    assert shop.ledger._recalls.sizes.flushes == 2


async def test_a_purchase_decided_just_after_its_sale_was_closed_is_looked_up_too(shop):
    sale = await shop.sale(lasts=10, pay=5)
    made = await shop.buy(sale, ANN)
    shop.clock.advance(10 + CLOSE_AFTER_MS / 1000)
    await shop.ledger.expire_due()
    assert await shop.ledger.batcher.submit(Reserve(sale.sale.id, ANN, "k", 1)) == made
    assert isinstance(
        (await asyncio.gather(shop.ledger.batcher.submit(Reserve(sale.sale.id, BOB, "k", 1)), return_exceptions=True))[
            0
        ],
        SaleEnded,
    )


def test_remembered_refusals_are_bounded_and_the_latest_are_kept():
    refusals = Refusals(limit=10)
    for number in range(1000):
        refusals.add(str(number), 1, IdempotencyMismatch)
    assert 10 <= len(refusals) <= 20
    assert all(refusals.get(str(number)) for number in range(990, 1000))
    refusals.forget("999")
    assert refusals.get("999") is None


async def test_the_queue_of_due_reservations_does_not_grow_with_what_was_settled_early(shop):
    sale = await shop.sale(stock=10**6, limit=10**6, pay=3600)
    for round_ in range(4):
        made = await asyncio.gather(*(shop.buy(sale, ANN, f"{round_}-{n}") for n in range(400)))
        await asyncio.gather(*(shop.service.cancel(ANN, order.id) for order in made))
    kept = await shop.buy(sale, BOB)
    await shop.ledger.expire_due()
    assert len(shop.ledger._book._due) <= 1024
    shop.clock.advance(3600)
    assert await shop.ledger.expire_due() == 1
    assert await shop.status(BOB, kept.id) == "expired"


async def test_the_migrations_make_the_tables_that_the_code_declares(tmp_path):
    def tables(path):
        with sqlite3.connect(path) as connection:
            rows = connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name IN (?,?,?,?,?)", TABLES
            )
            # The order of a table's constraints means nothing.
            found = {name: sorted(part.strip(" ()\n\t") for part in sql.split(",")) for name, sql in rows}
        connection.close()
        return found

    database = Database(f"sqlite:///{tmp_path}/migrated.db")
    await database.connect()
    assert await upgrade(database)
    await database.aclose()
    async with opened_shop(tmp_path):
        pass
    assert tables(tmp_path / "migrated.db") == tables(tmp_path / "shop.db")
