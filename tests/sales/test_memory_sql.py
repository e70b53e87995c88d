"""What the ledger in SQL remembers beyond its orders: refusals, and the keys of sales that are over."""

from __future__ import annotations

import asyncio

import pytest

from teahouse.problems import IdempotencyMismatch, SaleEnded, SoldOut
from teahouse.sales.stock import CLOSE_AFTER_MS
from tests.sales.shop import ANN, BOB


@pytest.fixture
def keeper():
    """Redis remembers no refusals, and frees its keys in its own way."""
    return "sql"


async def test_long_after_the_end_a_key_is_answered_from_sql(shop):
    sale = await shop.sale(limit=5, lasts=10, pay=5)
    made = await shop.buy(sale, ANN, "k", 2)
    shop.clock.advance(10 + CLOSE_AFTER_MS / 1000)
    await shop.ledger.expire_due()
    await shop.ledger.expire_due()
    assert shop.ledger._book.sales[sale.sale.id].by_slot == {}
    assert await shop.buy(sale, ANN, "k", 2) == made
    with pytest.raises(IdempotencyMismatch):
        await shop.buy(sale, ANN, "k", 1)
    with pytest.raises(SaleEnded):
        await shop.buy(sale, BOB, "k")


async def test_a_refusal_is_repeated_for_its_key_even_when_stock_has_returned(shop):
    sale = await shop.sale(stock=1)
    made = await shop.buy(sale, ANN)
    with pytest.raises(SoldOut):
        await shop.buy(sale, BOB, "first")
    await shop.service.cancel(ANN, made.id)
    with pytest.raises(SoldOut):
        await shop.buy(sale, BOB, "first")
    await shop.buy(sale, BOB, "second")


async def test_a_refused_key_with_another_body_is_a_mismatch(shop):
    sale = await shop.sale(stock=2, limit=2)
    await shop.buy(sale, ANN, quantity=2)
    with pytest.raises(SoldOut):
        await shop.buy(sale, BOB, "k", 1)
    with pytest.raises(IdempotencyMismatch):
        await shop.buy(sale, BOB, "k", 2)


async def test_commands_of_one_moment_are_decided_in_their_order_whatever_their_kind(shop):
    sale = await shop.sale(stock=1)
    made = await shop.buy(sale, ANN)
    _, bought = await asyncio.gather(shop.service.cancel(ANN, made.id), shop.buy(sale, BOB))
    assert bought.buyer_id == BOB
    assert (await shop.tally(sale)).reserved == 1
