"""The database is out of reach in the middle of a sale: Redis goes on selling, and SQL has everything afterwards."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from functools import partial

import pytest

from teahouse.web.client import Answer
from tests.faults.conftest import Proxied
from tests.faults.rush import Rush, account, refused_in_time, rush
from tests.journeys.people import fresh
from tests.proxies import DOWN, UP, Proxy

AWAY_SECONDS = 10.0


def black_hole(proxy: Proxy) -> None:
    proxy.swallow()


async def what_needs_sql_is_refused(crowd: Rush, place: int) -> None:
    """Everything else is answered."""
    client, buyer = crowd.clients[place], crowd.at(place, 0)
    code = {"code": f"sandbox-{fresh()}-{secrets.token_hex(8)}"}
    assert (await buyer.get(f"/v1/sales/{crowd.sale['id']}")).status == 200
    await asyncio.gather(
        refused_in_time(lambda: buyer.get("/v1/orders"), slug="database-unavailable"),
        refused_in_time(lambda: buyer.get("/v1/sales"), slug="database-unavailable"),
        refused_in_time(lambda: client.post("/v1/auth/wechat", json=code)),
        refused_in_time(lambda: client.get("/readyz")),
        refused_in_time(lambda: crowd.boss.post("/v1/products", json={"name": "Maofeng", "price": 1})),
    )


@pytest.mark.parametrize("fault", [Proxy.refuse, black_hole])
async def test_while_the_database_is_away_redis_goes_on_selling_and_what_needs_sql_is_refused_in_time(
    proxied: Proxied, fault: Callable[[Proxy], None]
):
    async with rush(proxied.shop, buyers=6, pays=True) as crowd:
        await crowd.sells()
        begun = time.monotonic()
        fault(proxied.to_database)
        await asyncio.gather(*(what_needs_sql_is_refused(crowd, place) for place in (0, 1)))
        sold = len(crowd.told)
        await crowd.lasts(max(1.0, AWAY_SECONDS - (time.monotonic() - begun)))
        assert len(crowd.told) > sold, crowd.summary()
        assert proxied.shop.unrecorded() > 0
        assert set(crowd.refused) <= {"database-unavailable"}, crowd.summary()
        proxied.to_database.carry()
        proxied.to_database.accept()
        back = time.monotonic()
        await account(crowd)
        print(fault.__name__, "all in SQL after", time.monotonic() - back)


async def test_while_the_database_is_silent_nobody_waits_for_it_twice(proxied: Proxied):
    """Requests of every kind that needs SQL, one after the other: also those that stand in line behind others."""
    async with rush(proxied.shop, buyers=2) as crowd:
        await crowd.sells(5)
        proxied.to_database.swallow()
        client, buyer = crowd.clients[0], crowd.at(0, 0)
        wrong = {"username": fresh(), "password": "no tea today"}
        asked: list[asyncio.Task[Answer]] = []
        for turn in range(8):
            code = {"code": f"sandbox-{fresh()}-{secrets.token_hex(8)}"}
            asks = (
                partial(client.post, "/v1/auth/wechat", json=code),
                partial(client.post, "/v1/auth/password", json=wrong),
                partial(buyer.get, "/v1/orders"),
                partial(buyer.get, f"/v1/sales/{turn:032x}"),
                partial(buyer.post, f"/v1/orders/{turn:032x}/cancel"),
            )
            asked += [asyncio.create_task(refused_in_time(ask)) for ask in asks]
            await crowd.lasts(0.6)
        await asyncio.gather(*asked)
        proxied.to_database.carry()
        await account(crowd)


async def test_while_payments_wait_for_a_silent_database_orders_are_cancelled_all_the_same(proxied: Proxied):
    async with rush(proxied.shop, buyers=2) as crowd:
        await crowd.sells(16)
        first, *orders = [json.loads(body)["orderId"] for (number, _), body in crowd.told.items() if number == 0][:5]
        buyer = crowd.at(0, 0)
        paid = await crowd.at_last(lambda: buyer.post("/v1/sandbox/payments", json={"orderId": first}))
        assert paid.status == 200, paid.body
        crowd.became[first] = "paid"
        proxied.to_database.swallow()
        paying = asyncio.create_task(buyer.post("/v1/sandbox/payments", json={"orderId": orders[0]}))
        for order in orders[1:]:
            begun = time.monotonic()
            cancelled = await buyer.post(f"/v1/orders/{order}/cancel")
            assert cancelled.status == 200, cancelled.body
            assert time.monotonic() - begun < 2.0
            crowd.became[order] = "cancelled"
        assert not paying.done()
        proxied.to_database.carry()
        proxied.to_database.cut()
        assert (await paying).status in (200, 503)
        crowd.unsettled.add(orders[0])
        await account(crowd)


@pytest.mark.parametrize("way", [UP, DOWN])
async def test_connections_to_the_database_that_are_half_closed_lose_no_order(proxied: Proxied, way: str):
    async with rush(proxied.shop, pays=True) as crowd:
        for _ in range(5):
            await crowd.sells(5)
            proxied.to_database.half_close(way)
        await account(crowd)


async def test_answers_of_the_database_that_are_lost_in_the_middle_of_a_commit_record_each_order_once(
    proxied: Proxied,
):
    async with rush(proxied.shop, pays=True) as crowd:
        for _ in range(6):
            await crowd.sells(5)
            proxied.to_database.cut_when_carried(1, DOWN)
            await crowd.sells(5)
            proxied.to_database.cut_when_carried(1, UP)
        await account(crowd)


async def test_a_slow_database_holds_up_no_purchase(proxied: Proxied):
    async with rush(proxied.shop) as crowd:
        await crowd.sells()
        proxied.to_database.delay(0.5)
        await crowd.sells(60)
        assert crowd.slowest < 2.0, crowd.summary()
        proxied.to_database.carry()
        await account(crowd)
