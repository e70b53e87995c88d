"""What goes on while the archive is away, and one transaction that is told to several shards and nodes at once."""

from __future__ import annotations

import asyncio

import pytest

from teahouse.problems import DatabaseUnavailable, NotFound, OrderNotCancellable, SoldOut, TransactionReused
from teahouse.sales import Tally
from teahouse.sales import keys_redis as keys
from tests.sales.shop import ANN, BOB, CAT


@pytest.fixture
def keeper():
    return "redis"


@pytest.fixture
async def other(shop):
    """A second node of the shop."""
    node = shop.another_node("two")
    await node.open()
    yield node
    await node.aclose()


async def two_shards(shop):
    """Two sales that live in different shards."""
    first = await shop.sale(limit=5)
    while True:
        second = await shop.sale(limit=5)
        if keys.shard_of(second.sale.id) != keys.shard_of(first.sale.id):
            return first, second


async def test_buying_repeating_cancelling_and_expiring_go_on_while_the_database_is_away(shop):
    sale = await shop.sale(stock=3, pay=60)
    kept = await shop.buy(sale, ANN)
    shop.database.blind = True
    made = await shop.buy(sale, BOB)
    assert await shop.buy(sale, ANN) == kept
    assert await shop.status(BOB, made.id) == "reserved"
    assert (await shop.service.cancel(BOB, made.id)).status == "cancelled"
    await shop.buy(sale, CAT)
    shop.clock.advance(60)
    assert await shop.ledger.expire_due() == 2
    with pytest.raises(OrderNotCancellable):
        await shop.service.cancel(ANN, kept.id)
    shop.database.blind = False
    assert await shop.tally(sale) == Tally(3, 3, 0, 0)


async def test_what_only_the_database_knows_is_a_503_while_it_is_away_and_never_a_wrong_answer(shop):
    sale = await shop.sale(stock=1)
    made = await shop.buy(sale, ANN)
    shop.database.blind = True
    for work in (
        lambda: shop.pay(made.id),
        lambda: shop.service.cancel(ANN, "f" * 32),
        lambda: shop.service.order(ANN, "f" * 32),
        lambda: shop.service.orders(ANN, before=None, limit=9),
        lambda: shop.service.purchase(ANN, "f" * 32, "k", 1),
    ):
        with pytest.raises(DatabaseUnavailable):
            await work()
    with pytest.raises(SoldOut):
        await shop.buy(sale, BOB)
    shop.database.blind = False
    with pytest.raises(NotFound):
        await shop.service.cancel(ANN, "f" * 32)
    assert (await shop.pay(made.id)).state == "settled"
    assert await shop.tally(sale) == Tally(1, 0, 0, 1)


async def test_money_that_cannot_be_taken_now_spoils_no_cancellation_of_the_same_moment(shop):
    sale = await shop.sale(limit=2)
    paid, cancelled = await shop.buy(sale, ANN, "1"), await shop.buy(sale, ANN, "2")
    shop.database.blind = True
    told = await asyncio.gather(
        shop.pay(paid.id), shop.service.cancel(ANN, cancelled.id), shop.pay("f" * 32), return_exceptions=True
    )
    assert [type(each).__name__ for each in told] == ["DatabaseUnavailable", "Order", "DatabaseUnavailable"]
    assert told[0] is not told[2]


@pytest.mark.parametrize("seed", range(5))
async def test_one_transaction_told_for_orders_of_two_shards_at_once_pays_one(shop, other, seed):
    first, second = await two_shards(shop)
    name = f"t{seed}"
    orders = [await shop.buy(first, ANN), await shop.buy(second, ANN)]
    told = await asyncio.gather(
        *(node.ledger.settle(order.id, 300, name) for node in (shop, other) for order in orders), return_exceptions=True
    )
    settled = [each for each in told if not isinstance(each, Exception)]
    assert {type(each) for each in told if isinstance(each, Exception)} == {TransactionReused}
    assert len(settled) == 2
    assert len({each.order_id for each in settled}) == 1
    assert sorted([(await shop.tally(sale)).sold for sale in (first, second)]) == [0, 1]


async def test_a_transaction_is_known_from_sql_when_redis_remembers_it_no_more(shop):
    first, second = await two_shards(shop)
    orders = [await shop.buy(first, ANN), await shop.buy(second, ANN)]
    payment = await shop.pay(orders[0].id, transaction="t")
    await shop.record()
    await shop.redis.ask("DEL", keys.claim_key("t"))
    shop.clock.advance(180)
    shop.ledger.backlog._tidy_at = 0.0
    await shop.ledger.backlog.tidy()
    assert await shop.pay(orders[0].id, transaction="t") == payment
    with pytest.raises(TransactionReused):
        await shop.pay(orders[1].id, transaction="t")
    assert (await shop.tally(second)).sold == 0


async def test_a_hundred_cancellations_and_payments_of_one_order_from_two_nodes_move_it_once(shop, other):
    sale = await shop.sale(stock=2)
    made = await shop.buy(sale, ANN)
    told = await asyncio.gather(
        *(node.service.cancel(ANN, made.id) for node in (shop, other) for _ in range(25)),
        *(node.service.settle(made.id, 300, "t") for node in (shop, other) for _ in range(25)),
        return_exceptions=True,
    )
    kinds = {type(each).__name__ for each in told}
    assert kinds <= {"Order", "OrderNotCancellable", "Payment"}
    assert len({each for each in told if type(each).__name__ == "Payment"}) == 1
    assert await shop.tally(sale) == Tally(2, 1, 0, 1)


async def test_both_nodes_expiring_at_once_return_each_order_once(shop, other):
    sale = await shop.sale(stock=700, limit=1, pay=60)
    await asyncio.gather(*(shop.buy(sale, f"{number:032x}") for number in range(600)))
    shop.clock.advance(60)
    counts = await asyncio.gather(shop.ledger.expire_due(), other.ledger.expire_due())
    assert sum(counts) == 600
    assert await shop.tally(sale) == Tally(700, 700, 0, 0)
