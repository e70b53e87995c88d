"""``kill -9`` of Redis and of the database in the middle of a sale, and their return."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.databases import DatabaseServer, MariaDb, Postgres
from tests.databases import running as database_running
from tests.faults.nodes import Shop, shop_of
from tests.faults.rush import account, refused_in_time, rush
from tests.redis_servers import RedisServer


@pytest.fixture(params=[MariaDb, Postgres])
def durable(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """A database of the test's own that loses nothing when it is killed."""
    with database_running(request.param, durable=True) as server:
        yield server


@pytest.fixture
def shop(tmp_path: Path, redis_alone: RedisServer, mariadb_session: DatabaseServer) -> Iterator[Shop]:
    with shop_of(tmp_path, redis_alone, mariadb_session) as shop:
        yield shop


async def test_redis_killed_in_the_middle_of_a_sale_comes_back_with_all_it_had_told(shop: Shop):
    async with rush(shop, pays=True) as crowd:
        for _ in range(2):
            await crowd.sells(40)
            await asyncio.to_thread(shop.redis.kill)
            await crowd.is_refused()
            await asyncio.to_thread(shop.redis.start)
            print("recovered in", await crowd.sells())
        await account(crowd)
        assert {"redis-unavailable", "outcome-unknown"} >= set(crowd.refused), crowd.summary()


async def test_the_last_units_are_sold_once_while_redis_is_killed(shop: Shop):
    async with rush(shop, stock=100, buyers=16) as crowd:
        await crowd.sells(40)
        await asyncio.to_thread(shop.redis.kill)
        await crowd.is_refused()
        assert not crowd.sold_out
        await asyncio.to_thread(shop.redis.start)
        deadline = time.monotonic() + 60
        while len(crowd.sold_out) < 16 and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        await account(crowd)
        assert len(crowd.told) == 100


async def test_redis_that_stands_still_is_told_of_in_time_and_goes_on(shop: Shop):
    async with rush(shop, pays=True) as crowd:
        await crowd.sells()
        shop.redis.pause()
        await crowd.is_refused()
        shop.redis.resume()
        print("recovered in", await crowd.sells())
        await account(crowd)


async def test_the_database_killed_in_the_middle_of_a_sale_has_every_order_afterwards(
    tmp_path: Path, redis_alone: RedisServer, durable: DatabaseServer
):
    with ExitStack() as stack:
        shop = stack.enter_context(shop_of(tmp_path, redis_alone, durable))
        async with rush(shop, pays=True) as crowd:
            for _ in range(2):
                await crowd.sells(40)
                await asyncio.to_thread(durable.kill)
                await crowd.sells(40)
                await refused_in_time(lambda: crowd.at(0, 0).get("/v1/orders"), slug="database-unavailable")
                await asyncio.to_thread(durable.start)
                await crowd.sells(10)
            back = time.monotonic()
            await account(crowd)
            print("all in SQL after", time.monotonic() - back)
