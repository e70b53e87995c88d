"""The database fails in the middle of a sale: callers are told so, and memory follows SQL."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from teahouse.problems import DatabaseUnavailable, NotFound, OutcomeUnknown, SoldOut
from teahouse.sales import Tally
from tests.sales.shop import ANN, BOB, CAT, PAUSE_SECONDS, opened_shop


@pytest.fixture
async def shop(tmp_path):
    async with opened_shop(tmp_path) as shop:
        yield shop


async def test_a_batch_that_was_rolled_back_leaves_memory_as_it_was(shop):
    sale = await shop.sale(stock=5, limit=5)
    kept = await shop.buy(sale, ANN, "kept")
    shop.database.fault = "before-commit"
    answers = await asyncio.gather(
        shop.buy(sale, ANN, "1"),
        shop.buy(sale, BOB, "2", 3),
        shop.service.cancel(ANN, kept.id),
        shop.pay(kept.id),
        shop.service.restock(sale.sale.id, 9),
        return_exceptions=True,
    )
    assert {type(answer) for answer in answers} == {DatabaseUnavailable}
    assert await shop.tally(sale) == Tally(initial=5, remaining=4, reserved=1, sold=0)
    shop.clock.advance(PAUSE_SECONDS)
    assert (await shop.buy(sale, ANN, "kept")) == kept
    assert (await shop.service.cancel(ANN, kept.id)).status == "cancelled"
    await shop.buy(sale, ANN, "1", 5)
    assert await shop.tally(sale) == Tally(initial=5, remaining=0, reserved=5, sold=0)


async def test_nobody_is_told_sold_out_because_of_a_purchase_that_did_not_happen(shop):
    sale = await shop.sale(stock=1)
    shop.database.fault = "before-commit"
    answers = await asyncio.gather(shop.buy(sale, ANN), shop.buy(sale, BOB), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DatabaseUnavailable, DatabaseUnavailable]
    shop.clock.advance(PAUSE_SECONDS)
    assert (await shop.buy(sale, BOB)).buyer_id == BOB


async def test_a_commit_whose_answer_was_lost_is_looked_up_and_told(shop):
    sale = await shop.sale(stock=1)
    shop.database.fault = "after-commit"
    bought, refused = await asyncio.gather(shop.buy(sale, ANN), shop.buy(sale, BOB), return_exceptions=True)
    assert bought.buyer_id == ANN
    assert isinstance(refused, SoldOut)
    assert await shop.tally(sale) == Tally(initial=1, remaining=0, reserved=1, sold=0)


@pytest.mark.parametrize("fault", ["before-commit", "after-commit"])
async def test_while_the_outcome_cannot_be_looked_up_it_is_called_unknown_and_the_same_key_tells_later(shop, fault):
    sale = await shop.sale(stock=1)
    shop.database.fault, shop.database.blind = fault, True
    with pytest.raises(OutcomeUnknown):
        await shop.buy(sale, ANN)
    with pytest.raises(DatabaseUnavailable):
        await shop.buy(sale, BOB)
    shop.clock.advance(PAUSE_SECONDS)
    with pytest.raises(DatabaseUnavailable):
        await shop.buy(sale, BOB)
    shop.database.blind = False
    shop.clock.advance(PAUSE_SECONDS)
    assert (await shop.buy(sale, ANN)).buyer_id == ANN
    with pytest.raises(SoldOut):
        await shop.buy(sale, BOB)
    assert await shop.tally(sale) == Tally(initial=1, remaining=0, reserved=1, sold=0)


async def test_a_sale_that_could_not_be_stored_does_not_exist(shop):
    shop.database.fault = "before-commit"
    with pytest.raises(DatabaseUnavailable):
        await shop.sale()
    assert await shop.service.sales(before=None, limit=9) == []


async def test_an_expiry_that_failed_is_made_up_for(shop):
    sale = await shop.sale(pay=60)
    await shop.buy(sale, ANN)
    shop.clock.advance(60)
    shop.database.fault = "before-commit"
    with pytest.raises(DatabaseUnavailable):
        await shop.ledger.expire_due()
    assert (await shop.tally(sale)).reserved == 1
    shop.clock.advance(PAUSE_SECONDS)
    assert await shop.ledger.expire_due() == 1
    assert (await shop.tally(sale)).remaining == 10


async def test_after_a_failure_callers_are_refused_at_once_for_a_moment(shop):
    sale = await shop.sale()
    shop.database.fault = "before-commit"
    with pytest.raises(DatabaseUnavailable):
        await shop.buy(sale, ANN)
    with pytest.raises(DatabaseUnavailable) as refused:
        await shop.buy(sale, BOB)
    assert refused.value.headers["Retry-After"] == "1"
    shop.clock.advance(PAUSE_SECONDS)
    await shop.buy(sale, CAT)


async def test_memory_is_read_again_when_somebody_else_has_written(shop):
    sale = await shop.sale(stock=5)
    made = await shop.buy(sale, ANN)
    await shop.sql("UPDATE stock_ledger SET batch = 'another'")
    await shop.sql(f"UPDATE orders SET status = 'cancelled' WHERE id = '{made.id}'")
    await shop.sql("UPDATE sales SET remaining = remaining + 1, reserved = reserved - 1")
    with pytest.raises(DatabaseUnavailable):
        await shop.buy(sale, BOB)
    shop.clock.advance(PAUSE_SECONDS)
    await shop.buy(sale, BOB)
    assert await shop.tally(sale) == Tally(initial=5, remaining=4, reserved=1, sold=0)


async def test_two_ledgers_on_one_database_never_oversell(shop, tmp_path):
    sale = await shop.sale(stock=20)
    first = shop.ledger
    shop._assemble()
    await shop.ledger.start()
    sold = set()
    for n in range(60):
        ledger = (first, shop.ledger)[n % 2]
        try:
            sold.add((await ledger.reserve(sale.sale.id, f"{n:032x}", "k", 1)).id)
        except (DatabaseUnavailable, SoldOut):
            shop.clock.advance(PAUSE_SECONDS)
    await first.aclose()
    await shop.restart()
    tally = await shop.tally(sale)
    assert tally.reserved == len(sold) <= 20


async def test_a_database_locked_by_another_program_is_a_503_and_nothing_is_lost(shop):
    sale = await shop.sale(stock=3)
    path = shop.database.url.database
    await shop.sql("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable):
        await shop.buy(sale, ANN)
    other.execute("ROLLBACK")
    other.close()
    shop.clock.advance(PAUSE_SECONDS)
    await shop.buy(sale, ANN)
    assert await shop.tally(sale) == Tally(initial=3, remaining=2, reserved=1, sold=0)


async def test_a_full_database_is_a_503_and_what_was_acknowledged_stays(shop):
    sale = await shop.sale(stock=1000)
    # SQLite's own way to say that the disk has no more room.
    async with shop.database.reading() as connection:
        pages = await connection.exec_driver_sql("PRAGMA page_count")
        full = pages.scalar_one()
    await shop.sql(f"PRAGMA max_page_count = {full}")
    kept, refused = [], None
    for n in range(1000):
        try:
            kept.append(await shop.buy(sale, f"{n:032x}"))
        except DatabaseUnavailable as problem:
            refused = problem
            break
    assert refused is not None
    assert (await shop.tally(sale)).reserved == len(kept)
    await shop.sql("PRAGMA max_page_count = 1000000")
    shop.clock.advance(PAUSE_SECONDS)
    await shop.restart()
    assert [await shop.buy(sale, order.buyer_id) for order in kept] == kept
    await shop.buy(sale, ANN)


async def test_a_purchase_whose_caller_has_gone_is_carried_out_or_withdrawn_but_never_half(shop):
    sale = await shop.sale(stock=100)
    tasks = [asyncio.ensure_future(shop.buy(sale, f"{n:032x}")) for n in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    told = [answer for answer in answers if not isinstance(answer, BaseException)]
    tally = await shop.tally(sale)
    assert len(told) <= tally.reserved <= 50


async def test_an_unforeseen_mistake_in_a_rule_puts_the_batch_back(shop, monkeypatch):
    sale = await shop.sale(stock=5)

    def mistaken(self, command):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("teahouse.sales.decisions.Decisions._cancel", mistaken)
        answers = await asyncio.gather(shop.buy(sale, ANN), shop.service.cancel(ANN, "f" * 32), return_exceptions=True)
        assert all(isinstance(answer, Exception) for answer in answers)
    assert (await shop.tally(sale)).remaining == 5
    await shop.buy(sale, ANN)
    with pytest.raises(NotFound):
        await shop.service.cancel(ANN, "f" * 32)
