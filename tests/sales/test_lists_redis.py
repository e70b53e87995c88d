"""What a buyer's list is made of while SQL may not have it: slots that lead from one order to the one before."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teahouse.engines.redis import Redis
from teahouse.sales import keys_redis as keys
from teahouse.sales.archive import OrderRow
from tests.sales.shop import ANN, BOB
from tests.sales.test_scripts_redis import NOW, SALE_ID, SHARD, Desk, ask, cancel, order_id, sale, settle

MINUTE = 60_000


@pytest.fixture
async def desk(redis_shared):
    redis = Redis(redis_shared.url)
    await redis.connect()
    yield Desk(redis)
    await redis.aclose()


async def listed(desk, buyer=ANN, before=None, limit=100):
    rows = await desk.scripts.mine(SHARD, buyer, before, limit)
    found = {row.id: row.status for row in (msgspec.json.decode(text, type=OrderRow) for text in rows)}
    return dict(sorted(found.items(), reverse=True)[:limit])


async def test_each_slot_leads_to_the_one_before_and_the_latest_is_known_by_its_buyer(desk):
    await desk.scripts.open(sale())
    await desk.buy(ask(1, key="a"), ask(2, BOB, "x"), ask(3, key="b b"))
    await desk.buy(ask(4, key="c"))
    slots = await desk.redis.ask("HMGET", keys.slots_key(SALE_ID), *(f"{ANN} {key}" for key in ("a", "b b", "c")))
    assert [each.decode() for each in slots] == [order_id(1), f"{order_id(3)} a", f"{order_id(4)} b b"]
    assert await desk.redis.ask("HGET", keys.bought_key(SALE_ID), ANN) == b"3 c"
    assert await listed(desk) == {order_id(number): "reserved" for number in (4, 3, 1)}


async def test_a_purchase_that_was_repeated_or_refused_leads_nowhere(desk):
    await desk.scripts.open(sale(limit=2))
    await desk.buy(ask(1, key="a"), ask(2, key="a"), ask(3, key="b", quantity=2), ask(4, key="c"))
    await desk.buy(ask(5, key="a"), ask(6, key="d"))
    assert list(await listed(desk)) == [order_id(4), order_id(1)]


async def test_the_newest_by_id_are_listed_where_the_clocks_of_nodes_differ(desk):
    await desk.scripts.open(sale(stock=100, limit=100))
    for place, number in enumerate([40, 42, 41, 44, 43, 2, 46, 45, 1]):
        await desk.buy(ask(number, key=str(place)))
    assert list(await listed(desk, limit=3)) == [order_id(number) for number in (46, 45, 44)]
    assert list(await listed(desk, before=order_id(44), limit=4)) == [order_id(number) for number in (43, 42, 41, 40)]
    assert list(await listed(desk, before=order_id(40), limit=4)) == [order_id(2), order_id(1)]


async def test_what_was_bought_after_everything_was_given_back_is_listed_beside_it(desk):
    await desk.scripts.open(sale(limit=1))
    await desk.buy(ask(1, key="a"))
    await desk.change(cancel(1))
    await desk.buy(ask(2, key="b"))
    assert await listed(desk) == {order_id(2): "reserved", order_id(1): "cancelled"}
    [[_, payment, *_]] = await desk.change(settle(1))
    assert b"limit-reached" in payment
    await desk.change(cancel(2))
    await desk.change(settle(1, transaction="u"))
    await desk.redis.ask("HDEL", keys.slots_key(SALE_ID), f"{ANN} b")
    assert await listed(desk) == {order_id(2): "cancelled", order_id(1): "paid"}
    assert (await desk.buy(ask(3, key="c")))[5:] == [2]


async def test_a_sale_is_walked_until_its_purchases_are_recorded_and_their_minute_is_over(desk):
    await desk.scripts.open(sale(ends=NOW + 10 * MINUTE, limit=10))
    await desk.buy(ask(1, key="a"))
    await desk.buy(ask(2, key="b"), now=NOW + MINUTE)
    sold = [b"%d %s" % ((NOW // MINUTE) + minute, SALE_ID.encode()) for minute in (0, 1)]

    async def swept(minutes):
        await desk.scripts.sweep(SHARD, NOW + minutes * MINUTE)
        return await desk.redis.ask("ZRANGE", f"{keys.prefix(SHARD)}selling", 0, -1)

    assert await swept(9) == sold
    assert list(await listed(desk)) == [order_id(2), order_id(1)]
    await desk.record_all()
    assert await swept(1) == sold
    assert await swept(2) == sold[1:]
    assert list(await listed(desk)) == [order_id(2), order_id(1)]
    assert await swept(3) == []
    assert await listed(desk) == {}


STEPS = st.lists(st.tuples(st.sampled_from("bbbbcp"), st.integers(0, 999), st.integers(0, 3)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, limit=st.integers(1, 12), data=st.data())
async def test_whatever_is_bought_and_changed_is_listed_page_by_page_as_it_is(redis_shared, steps, limit, data):
    redis = Redis(redis_shared.url)
    await redis.connect()
    try:
        await redis.ask("FLUSHALL")
        desk, known = Desk(redis), {}
        await desk.scripts.open(sale(stock=1000, limit=3))
        for place, (step, number, jitter) in enumerate(steps):
            if step == "b":
                made = 10 * place + 100 - 7 * jitter
                if (await desk.buy(ask(made, key=str(place))))[5] == 0:
                    known[order_id(made)] = "reserved"
            elif known:
                chosen = sorted(known)[number % len(known)]
                command = ("cancel", chosen, ANN, "", b"") if step == "c" else settle(chosen, transaction=str(place))
                [told] = await desk.change(command)
                if told[0] == b"ok" and step == "c":
                    known[chosen] = "cancelled"
                elif told[0] == b"ok" and b'"settled"' in told[1]:
                    known[chosen] = "paid"
        wanted = dict(sorted(known.items(), reverse=True))
        seen, before = {}, None
        while page := await listed(desk, before=before, limit=limit):
            seen |= page
            before = min(page)
        assert seen == wanted
    finally:
        await redis.aclose()
