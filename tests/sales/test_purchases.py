"""One purchase: who gets what, and what the same request gets again."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from teahouse.problems import (
    IdempotencyMismatch,
    LimitReached,
    NotFound,
    SaleEnded,
    SaleNotStarted,
    SoldOut,
    StockNotReducible,
    ValidationFailed,
)
from teahouse.sales import SaleDraft, Tally
from tests.sales.shop import ANN, BOB, CAT


async def test_a_purchase_reserves_stock_and_says_until_when(shop):
    sale = await shop.sale(stock=10, limit=3, pay=60)
    made = await shop.buy(sale, ANN, quantity=2)
    assert (made.sale_id, made.quantity, made.amount) == (sale.sale.id, 2, 600)
    assert made.pay_before == shop.clock.now_ms() + 60_000
    assert await shop.tally(sale) == Tally(initial=10, remaining=8, reserved=2, sold=0)


async def test_an_order_is_readable_as_soon_as_its_buyer_knows_of_it(shop):
    sale = await shop.sale()
    made = await shop.buy(sale, ANN)
    assert (await shop.service.order(ANN, made.id)).reservation == made
    assert [order.reservation.id for order in await shop.service.orders(ANN, before=None, limit=9)] == [made.id]


async def test_five_hundred_buyers_of_a_hundred_items_get_exactly_a_hundred(shop):
    sale = await shop.sale(stock=100)
    answers = await asyncio.gather(*(shop.buy(sale, f"{n:032x}") for n in range(500)), return_exceptions=True)
    assert Counter(type(answer).__name__ for answer in answers) == {"Reservation": 100, "SoldOut": 400}
    assert await shop.tally(sale) == Tally(initial=100, remaining=0, reserved=100, sold=0)


async def test_the_last_items_go_to_who_asks_for_no_more_than_is_left(shop):
    sale = await shop.sale(stock=3, limit=3)
    await shop.buy(sale, ANN, quantity=2)
    with pytest.raises(SoldOut):
        await shop.buy(sale, BOB, quantity=2)
    await shop.buy(sale, CAT, quantity=1)
    assert (await shop.tally(sale)).remaining == 0


async def test_a_buyer_gets_no_more_than_the_limit_over_several_purchases(shop):
    sale = await shop.sale(stock=10, limit=3)
    await shop.buy(sale, ANN, "1", quantity=2)
    with pytest.raises(LimitReached):
        await shop.buy(sale, ANN, "2", quantity=2)
    await shop.buy(sale, ANN, "3", quantity=1)
    assert (await shop.tally(sale)).reserved == 3


async def test_one_buyer_asking_many_times_at_once_gets_no_more_than_the_limit(shop):
    sale = await shop.sale(stock=50, limit=2)
    answers = await asyncio.gather(*(shop.buy(sale, ANN, str(n)) for n in range(40)), return_exceptions=True)
    assert Counter(type(answer).__name__ for answer in answers) == {"Reservation": 2, "LimitReached": 38}


async def test_nothing_is_sold_before_the_sale_starts_or_from_its_end_on(shop):
    sale = await shop.sale(starts=10, lasts=10)
    with pytest.raises(SaleNotStarted):
        await shop.buy(sale, ANN, "k")
    shop.clock.advance(9.999)
    with pytest.raises(SaleNotStarted):
        await shop.buy(sale, ANN, "k")
    shop.clock.advance(0.001)
    await shop.buy(sale, ANN, "k")
    shop.clock.advance(10)
    with pytest.raises(SaleEnded):
        await shop.buy(sale, BOB, "k")


async def test_an_unknown_sale_is_not_found(shop):
    with pytest.raises(NotFound):
        await shop.service.purchase(ANN, "f" * 32, "k", 1)


# --- the same request again ---


async def test_the_same_key_and_body_get_the_same_order(shop):
    sale = await shop.sale(limit=5)
    first = await shop.buy(sale, ANN, "k", 2)
    assert await shop.buy(sale, ANN, "k", 2) == first
    assert await shop.tally(sale) == Tally(initial=10, remaining=8, reserved=2, sold=0)


async def test_the_same_key_sent_many_times_at_once_is_one_order(shop):
    sale = await shop.sale(limit=5)
    answers = await asyncio.gather(*(shop.buy(sale, ANN, "k", 2) for _ in range(20)))
    assert len(set(answers)) == 1
    assert (await shop.tally(sale)).reserved == 2


async def test_the_same_key_with_another_body_is_refused_and_changes_nothing(shop):
    sale = await shop.sale(limit=5)
    await shop.buy(sale, ANN, "k", 2)
    with pytest.raises(IdempotencyMismatch):
        await shop.buy(sale, ANN, "k", 1)
    assert (await shop.tally(sale)).reserved == 2


async def test_a_key_belongs_to_its_buyer_and_its_sale(shop):
    sale, other = await shop.sale(), await shop.sale()
    made = {(await shop.buy(sale, ANN)).id, (await shop.buy(sale, BOB)).id, (await shop.buy(other, ANN)).id}
    assert len(made) == 3


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_same_key_finds_its_order_whatever_became_of_it(shop, restarted):
    sale = await shop.sale(stock=10, limit=5, lasts=100, pay=10)
    expired, cancelled, paid = [await shop.buy(sale, ANN, key) for key in ("1", "2", "3")]
    await shop.service.cancel(ANN, cancelled.id)
    await shop.pay(paid.id)
    shop.clock.advance(10)
    await shop.ledger.expire_due()
    if restarted:
        await shop.restart()
    assert [await shop.buy(sale, ANN, key) for key in ("1", "2", "3")] == [expired, cancelled, paid]
    shop.clock.advance(90)
    assert await shop.buy(sale, ANN, "2") == cancelled
    with pytest.raises(SaleEnded):
        await shop.buy(sale, ANN, "4")


async def test_who_comes_too_early_may_ask_again_with_the_same_key(shop):
    sale = await shop.sale(starts=5)
    with pytest.raises(SaleNotStarted):
        await shop.buy(sale, ANN, "k")
    shop.clock.advance(5)
    assert (await shop.buy(sale, ANN, "k")).quantity == 1


# --- terms and stock ---


async def test_stock_can_be_added_and_taken_away_down_to_what_is_promised(shop):
    sale = await shop.sale(stock=2)
    await shop.buy(sale, ANN)
    paid = await shop.buy(sale, BOB)
    await shop.pay(paid.id)
    with pytest.raises(SoldOut):
        await shop.buy(sale, CAT, "1")
    assert (await shop.service.restock(sale.sale.id, 5)).sale.stock == 5
    await shop.buy(sale, CAT, "2")
    assert await shop.tally(sale) == Tally(initial=5, remaining=2, reserved=2, sold=1)
    with pytest.raises(StockNotReducible):
        await shop.service.restock(sale.sale.id, 2)
    await shop.service.restock(sale.sale.id, 3)
    await shop.restart()
    assert await shop.tally(sale) == Tally(initial=3, remaining=0, reserved=2, sold=1)


async def test_a_sale_of_contradictory_terms_is_refused_place_by_place(shop):
    terms = SaleDraft(shop.product_id, 1, 1, shop.clock.now_ms(), shop.clock.now_ms(), 2, 60)
    with pytest.raises(ValidationFailed) as refused:
        await shop.service.open_sale(terms)
    assert [error.pointer for error in refused.value.errors] == ["/endsAt", "/perBuyerLimit"]


async def test_a_sale_of_a_product_that_does_not_exist_is_not_found(shop):
    shop.product_id = "0" * 32
    with pytest.raises(NotFound):
        await shop.sale()


async def test_sales_are_listed_newest_first_page_by_page(shop):
    made = [(await shop.sale()).sale.id for _ in range(5)]
    first = await shop.service.sales(before=None, limit=3)
    rest = await shop.service.sales(before=first[-1].sale.id, limit=3)
    assert [each.sale.id for each in [*first, *rest]] == made[::-1]


async def test_the_order_of_a_buyers_list_is_newest_first_page_by_page(shop):
    sale = await shop.sale(stock=10, limit=10)
    made = [(await shop.buy(sale, ANN, str(n))).id for n in range(5)]
    await shop.buy(sale, BOB)
    first = await shop.service.orders(ANN, before=None, limit=3)
    rest = await shop.service.orders(ANN, before=first[-1].reservation.id, limit=3)
    assert [each.reservation.id for each in [*first, *rest]] == made[::-1]
