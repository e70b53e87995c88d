"""Redis is out of reach in the middle of a sale: everybody is told so in time, and nothing is lost or sold twice."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import Proxied
from tests.faults.rush import account, refused_in_time, rush
from tests.journeys.people import fresh
from tests.proxies import DOWN, UP, Proxy

AWAY_SECONDS = 10.0
SHORT_SECONDS = 3.0


def black_hole(proxy: Proxy) -> None:
    proxy.swallow()


def swallow_the_answers(proxy: Proxy) -> None:
    proxy.swallow(DOWN)


def delay_beyond_patience(proxy: Proxy) -> None:
    proxy.delay(4.0)


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (Proxy.refuse, AWAY_SECONDS),
        (black_hole, AWAY_SECONDS),
        (swallow_the_answers, SHORT_SECONDS),
        (delay_beyond_patience, SHORT_SECONDS),
    ],
)
async def test_while_redis_is_out_of_reach_everybody_is_told_503_in_time_and_nothing_is_lost(
    proxied: Proxied, fault: Callable[[Proxy], None], seconds: float
):
    async with rush(proxied.shop, pays=True) as crowd:
        await crowd.sells()
        begun = time.monotonic()
        fault(proxied.to_redis)
        await crowd.is_refused()
        known = len(crowd.told)
        await crowd.lasts(seconds - (time.monotonic() - begun))
        assert len(crowd.told) == known
        proxied.to_redis.carry()
        proxied.to_redis.accept()
        print(fault.__name__, "recovered in", await crowd.sells())
        await account(crowd)
        assert {"redis-unavailable", "outcome-unknown"} >= set(crowd.refused)


async def test_while_redis_is_away_nobody_logs_in_and_afterwards_everybody_still_is(proxied: Proxied):
    async with rush(proxied.shop, buyers=4) as crowd:
        await crowd.sells(10)
        proxied.to_redis.refuse()
        await crowd.is_refused()
        refresh = {"refreshToken": crowd.buyers[0].tokens["refreshToken"]}
        code = {"code": f"sandbox-{fresh()}-{secrets.token_hex(8)}"}
        for client in crowd.clients:
            await refused_in_time(lambda to=client: to.post("/v1/auth/wechat", json=code))
            await refused_in_time(lambda to=client: to.get("/readyz"))
            await refused_in_time(lambda to=client: to.post("/v1/auth/refresh", json=refresh))
            await refused_in_time(lambda to=client: to.post("/v1/auth/logout", token=crowd.buyers[1].token))
        proxied.to_redis.accept()
        await crowd.sells(10)
        await account(crowd)
        renewed = await crowd.at_last(lambda: crowd.clients[1].post("/v1/auth/refresh", json=refresh))
        assert renewed.status == 200, renewed.body


@pytest.mark.parametrize("way", [UP, DOWN])
async def test_connections_to_redis_that_are_half_closed_again_and_again_lose_no_order(proxied: Proxied, way: str):
    async with rush(proxied.shop, pays=True) as crowd:
        for _ in range(8):
            await crowd.sells(5)
            proxied.to_redis.half_close(way)
        await crowd.sells(5)
        await account(crowd)


async def test_redis_that_is_slow_but_within_patience_goes_on_selling(proxied: Proxied):
    async with rush(proxied.shop) as crowd:
        await crowd.sells()
        proxied.to_redis.delay(0.3)
        await crowd.sells()
        proxied.to_redis.carry()
        await account(crowd)
        assert not crowd.refused
