"""A buyer's orders where the latest are in Redis and all older ones in SQL."""

from __future__ import annotations

import pytest

from teahouse.sales import keys_redis as keys
from tests.sales.shop import ANN, BOB, opened_shop
from tests.sales.shop_redis import RedisShop

MINUTE = 60.0


@pytest.fixture
def keeper():
    return "redis"


async def pages(shop, buyer, limit):
    seen, before = [], None
    while page := await shop.service.orders(buyer, before=before, limit=limit):
        assert len(page) <= limit
        seen += page
        before = page[-1].reservation.id
    return seen


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_a_list_goes_across_the_border_between_redis_and_sql_without_gap_or_double(shop, limit):
    first, second = await shop.sale(stock=50, limit=50), await shop.sale(stock=50, limit=50)
    made = []
    for number in range(12):
        made.append(await shop.buy((first, second)[number % 2], ANN, str(number)))
        if number == 3:
            await shop.service.cancel(ANN, made[1].id)
            await shop.record()
            shop.clock.advance(2 * MINUTE)
            shop.ledger.backlog._tidy_at = 0.0
            await shop.ledger.backlog.tidy()
        if number == 8:
            await shop.record()
    await shop.buy(first, BOB)
    await shop.pay(made[2].id)
    await shop.service.cancel(ANN, made[7].id)
    wanted = {made[1].id: "cancelled", made[2].id: "paid", made[7].id: "cancelled"}
    seen = await pages(shop, ANN, limit)
    assert [order.reservation for order in seen] == made[::-1]
    assert [order.status for order in seen] == [wanted.get(each.id, "reserved") for each in made[::-1]]


async def test_any_number_of_a_minutes_orders_are_listed_before_they_are_recorded_and_after(shop):
    sale = await shop.sale(stock=500, limit=500)
    made = [await shop.buy(sale, ANN, str(number)) for number in range(130)]
    assert [order.reservation for order in await pages(shop, ANN, 50)] == made[::-1]
    seen = await shop.service.orders(ANN, before=None, limit=200)
    assert [order.reservation.id for order in seen] == [each.id for each in made[::-1]]
    await shop.record()
    seen = await shop.service.orders(ANN, before=None, limit=200)
    assert [order.reservation.id for order in seen] == [each.id for each in made[::-1]]


async def test_orders_that_change_in_their_minute_are_listed_once_and_as_they_are(shop):
    sale = await shop.sale(stock=50, limit=50)
    made = [await shop.buy(sale, ANN, str(number)) for number in range(30)]
    for number in (0, 7, 8, 9, 29):
        await shop.service.cancel(ANN, made[number].id)
    again = await shop.buy(sale, ANN, "again")
    seen = await pages(shop, ANN, 4)
    assert [order.reservation for order in seen] == [again, *made[::-1]]
    cancelled = [order.reservation for order in seen if order.status == "cancelled"]
    assert cancelled == [made[number] for number in (29, 9, 8, 7, 0)]


async def test_of_thousands_of_orders_in_a_minute_the_latest_are_listed_and_all_once_they_are_recorded(shop):
    sale = await shop.sale(stock=3000, limit=3000)
    made = [(await shop.buy(sale, ANN, str(number))).id for number in range(2300)][::-1]
    seen = [order.reservation.id for order in await pages(shop, ANN, 100)]
    assert 1700 < len(seen) < 2300
    assert seen[:100] == made[:100]
    await shop.record()
    assert [order.reservation.id for order in await pages(shop, ANN, 100)] == made


async def test_orders_of_many_minutes_are_listed_before_they_are_recorded_with_what_became_of_them(shop):
    sale = await shop.sale(stock=50, limit=50, pay=3600)
    made = []
    for number in range(6):
        made.append(await shop.buy(sale, ANN, str(number)))
        shop.clock.advance(MINUTE)
    await shop.service.cancel(ANN, made[0].id)
    await shop.pay(made[3].id)
    seen = await pages(shop, ANN, 4)
    assert [order.reservation for order in seen] == made[::-1]
    assert [order.status for order in seen] == ["reserved", "reserved", "paid", "reserved", "reserved", "cancelled"]


async def test_an_order_made_before_redis_decided_is_read_with_what_has_become_of_it_since(tmp_path, redis_shared):
    async with opened_shop(tmp_path) as before:
        sale = await before.sale(stock=50, limit=50, pay=60)
        made = [await before.buy(sale, ANN, str(number)) for number in range(20)]
        before.clock.advance(60)
        await before.ledger.expire_due()
        live = await before.buy(sale, ANN, "live")
        product, clock = before.product_id, before.clock
    shop = RedisShop(f"sqlite:///{tmp_path}/shop.db", redis_shared.url)
    shop.clock.advance(60)
    assert clock.now() == shop.clock.now()
    shop.product_id = product
    await shop.database.connect()
    await shop.node.open()
    try:
        # Their ids end with any digit, so most are in another shard than their sale.
        assert {keys.shard_of(each.id) for each in made} != {keys.shard_of(sale.sale.id)}
        for each in made:
            await shop.pay(each.id)
        assert [await shop.status(ANN, each.id) for each in made] == ["paid"] * 20
        assert {order.status for order in await pages(shop, ANN, 7)} == {"paid", "reserved"}
        assert (await shop.service.cancel(ANN, live.id)).status == "cancelled"
        assert await shop.status(ANN, live.id) == "cancelled"
        await shop.record()
        assert (await shop.tally(sale)).sold == 20
    finally:
        await shop.aclose()
