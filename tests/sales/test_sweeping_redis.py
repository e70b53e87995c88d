"""What Redis lets go of, and what it must not: nothing that SQL lacks, no live order, no key of a running sale."""

from __future__ import annotations

import asyncio

import pytest

from teahouse.problems import IdempotencyMismatch, SaleEnded
from teahouse.sales import Tally, backlog_redis
from teahouse.sales import keys_redis as keys
from teahouse.sales.stock import CLOSE_AFTER_MS
from tests.sales.shop import ANN, BOB

MINUTE = 60.0


@pytest.fixture
def keeper():
    return "redis"


async def sweep(shop):
    now = shop.clock.now_ms()
    return sum([await shop.ledger.scripts.sweep(shard, now) for shard in keys.SHARDS])


async def tidy(shop):
    shop.ledger.backlog._tidy_at = 0.0
    await shop.ledger.backlog.tidy()


async def in_redis(shop, order):
    return await shop.redis.ask("HEXISTS", keys.orders_key(keys.shard_of(order.id)), order.id) == 1


async def test_an_order_that_is_settled_and_recorded_leaves_after_a_minute_and_is_read_from_sql(shop):
    sale = await shop.sale(limit=2)
    done, live = await shop.buy(sale, ANN, "1"), await shop.buy(sale, ANN, "2")
    await shop.pay(done.id)
    await shop.record()
    shop.clock.advance(MINUTE)
    assert await sweep(shop) == 0
    shop.clock.advance(MINUTE)
    # The order and its payment.
    assert await sweep(shop) == 2
    assert (await in_redis(shop, done), await in_redis(shop, live)) == (False, True)
    assert await shop.status(ANN, done.id) == "paid"
    assert await shop.buy(sale, ANN, "1") == done
    with pytest.raises(IdempotencyMismatch):
        await shop.buy(sale, ANN, "1", 2)
    names = await shop.redis.ask("KEYS", "teahouse:{*:final:*")
    assert names == []


async def test_nothing_that_sql_lacks_is_let_go_however_old_it_is(shop):
    sale = await shop.sale(pay=10)
    made = await shop.buy(sale, ANN)
    await shop.service.cancel(ANN, made.id)
    shop.clock.advance(100 * MINUTE)
    assert await sweep(shop) == 0
    assert await shop.status(ANN, made.id) == "cancelled"
    assert [order.status for order in await shop.service.orders(ANN, before=None, limit=9)] == ["cancelled"]
    await shop.record()
    assert await sweep(shop) == 1


async def test_nothing_that_sql_lacks_is_let_go_where_redis_clock_was_set_back(shop):
    sale = await shop.sale(limit=2, starts=-7200, lasts=10_000)
    await shop.buy(sale, ANN, "1")
    shop.clock.step_wall_clock(-60 * MINUTE)
    made = await shop.buy(sale, ANN, "2")
    await shop.service.cancel(ANN, made.id)
    shop.clock.advance(3 * MINUTE)
    assert await sweep(shop) == 0
    assert await shop.status(ANN, made.id) == "cancelled"
    assert (await shop.service.cancel(ANN, made.id)).status == "cancelled"
    assert {order.status for order in await shop.service.orders(ANN, before=None, limit=9)} == {"cancelled", "reserved"}
    assert (await shop.tally(sale)).remaining == 9


async def test_an_order_that_changed_again_stays_for_its_later_minute(shop):
    sale = await shop.sale(stock=1, pay=10)
    made = await shop.buy(sale, ANN)
    await shop.service.cancel(ANN, made.id)
    shop.clock.advance(2 * MINUTE)
    await shop.pay(made.id)
    await shop.record()
    assert await sweep(shop) == 0
    assert await in_redis(shop, made)
    shop.clock.advance(2 * MINUTE)
    assert await sweep(shop) == 2
    assert await shop.tally(sale) == Tally(1, 0, 0, 1)


async def test_an_order_that_changed_again_after_the_clock_was_set_back_stays_until_that_is_recorded(shop):
    sale = await shop.sale(starts=-7200, lasts=20_000, pay=10)
    made = await shop.buy(sale, ANN)
    await shop.service.cancel(ANN, made.id)
    await shop.record()
    shop.clock.step_wall_clock(-60 * MINUTE)
    await shop.pay(made.id)
    shop.clock.advance(63 * MINUTE)
    await sweep(shop)
    assert await shop.status(ANN, made.id) == "paid"
    assert (await shop.pay(made.id, transaction="twice")).reason == "already-paid"
    assert await shop.tally(sale) == Tally(10, 9, 0, 1)


async def test_a_thousand_and_more_of_one_minute_leave_in_bounded_turns(shop):
    sale = await shop.sale(stock=2000, limit=2000)
    made = [await shop.buy(sale, ANN, str(number)) for number in range(3)]
    final = f"{keys.prefix(keys.shard_of(sale.sale.id))}final:{shop.clock.now_ms() // 60_000}"
    for order in made:
        await shop.service.cancel(ANN, order.id)
    await shop.redis.ask("LPUSH", final, *(f"o{number:032x}" for number in range(1500)))
    await shop.record()
    shop.clock.advance(2 * MINUTE)
    assert await sweep(shop) == 0
    assert await shop.redis.ask("LLEN", final) == 503
    assert await sweep(shop) == 3
    assert await shop.redis.ask("EXISTS", final) == 0


async def test_a_sale_is_closed_when_it_is_over_settled_and_recorded_and_not_before(shop):
    sale = await shop.sale(limit=3, lasts=10, pay=5)
    made = await shop.buy(sale, ANN, "k", 2)
    slots = keys.slots_key(sale.sale.id)
    shop.clock.advance(10 + CLOSE_AFTER_MS / 1000)
    await tidy(shop)
    await shop.ledger.expire_due()
    await tidy(shop)
    assert await shop.redis.ask("EXISTS", slots) == 1
    await shop.record()
    shop.clock.step_wall_clock(-1)
    await tidy(shop)
    assert await shop.redis.ask("EXISTS", slots) == 1
    shop.clock.step_wall_clock(1)
    await tidy(shop)
    assert await shop.redis.ask("EXISTS", slots, keys.bought_key(sale.sale.id)) == 0
    for _ in range(2):
        assert await shop.buy(sale, ANN, "k", 2) == made
        with pytest.raises(IdempotencyMismatch):
            await shop.buy(sale, ANN, "k", 1)
        with pytest.raises(SaleEnded):
            await shop.buy(sale, BOB, "k")
    assert (await shop.pay(made.id, amount=600)).state == "settled"
    assert await shop.tally(sale) == Tally(10, 8, 0, 2)


async def test_many_repeats_of_a_closed_sale_are_looked_up_together(shop):
    sale = await shop.sale(stock=50, lasts=10, pay=5)
    made = [await shop.buy(sale, f"{number:032x}") for number in range(20)]
    shop.clock.advance(10 + CLOSE_AFTER_MS / 1000)
    await shop.ledger.expire_due()
    await shop.record()
    await tidy(shop)
    assert await asyncio.gather(*(shop.buy(sale, f"{number:032x}") for number in range(20))) == made


async def test_a_sale_that_many_newer_ones_have_followed_is_closed_too(shop, monkeypatch):
    monkeypatch.setattr(backlog_redis, "_SALES_AT_ONCE", 3)
    sales = [await shop.sale(lasts=10, pay=5) for _ in range(7)]
    for sale in sales:
        await shop.buy(sale, ANN)
    shop.clock.advance(10 + CLOSE_AFTER_MS / 1000)
    await shop.ledger.expire_due()
    await shop.record()
    for _ in range(3):
        await tidy(shop)
    assert await shop.redis.ask("KEYS", "teahouse:{*:slots:*") == []
    await tidy(shop)
