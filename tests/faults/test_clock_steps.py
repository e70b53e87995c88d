"""The machine's clock is set in the middle of a sale."""

from __future__ import annotations

import pytest

from teahouse.problems import SaleEnded, SaleNotStarted
from teahouse.sales import Tally
from tests.sales.shop import ANN, BOB, opened_shop

HOUR = 3600


@pytest.fixture
async def shop(tmp_path):
    async with opened_shop(tmp_path) as shop:
        yield shop


async def test_a_clock_set_back_closes_the_sale_until_its_time_comes_again_and_loses_nothing(shop):
    sale = await shop.sale(stock=5, limit=5, lasts=2 * HOUR, pay=600)
    first = await shop.buy(sale, ANN, "1")
    shop.clock.step_wall_clock(-HOUR)
    with pytest.raises(SaleNotStarted):
        await shop.buy(sale, ANN, "2")
    assert await shop.buy(sale, ANN, "1") == first
    assert await shop.ledger.expire_due() == 0
    await shop.restart()
    shop.clock.advance(HOUR)
    second = await shop.buy(sale, ANN, "2")
    assert second.id > first.id
    assert await shop.tally(sale) == Tally(initial=5, remaining=3, reserved=2, sold=0)


async def test_a_clock_set_forward_returns_unpaid_stock_early_and_money_still_finds_its_order(shop):
    sale = await shop.sale(stock=5, limit=5, lasts=2 * HOUR, pay=600)
    made = await shop.buy(sale, ANN, "1")
    shop.clock.step_wall_clock(HOUR)
    assert await shop.ledger.expire_due() == 1
    shop.clock.step_wall_clock(-HOUR)
    assert (await shop.pay(made.id)).state == "settled"
    later = await shop.buy(sale, BOB, "1")
    assert later.pay_before < made.pay_before + HOUR * 1000
    assert await shop.tally(sale) == Tally(initial=5, remaining=3, reserved=1, sold=1)


async def test_a_sale_that_was_closed_by_a_clock_ahead_of_time_opens_again_when_the_clock_is_right(shop):
    sale = await shop.sale(stock=5, limit=5, lasts=HOUR)
    made = await shop.buy(sale, ANN, "1")
    await shop.pay(made.id)
    shop.clock.step_wall_clock(2 * HOUR)
    await shop.ledger.expire_due()
    with pytest.raises(SaleEnded):
        await shop.buy(sale, BOB, "1")
    shop.clock.step_wall_clock(-2 * HOUR)
    await shop.buy(sale, BOB, "1")
    assert await shop.buy(sale, ANN, "1") == made
    assert await shop.tally(sale) == Tally(initial=5, remaining=3, reserved=1, sold=1)
