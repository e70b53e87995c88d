"""The ledger on a Redis Cluster and behind Sentinels keeps its promises; a failover forgets nothing in silence."""

from __future__ import annotations

import asyncio
import time

import pytest

from teahouse.problems import Problem, SoldOut
from teahouse.sales import Tally
from teahouse.sales import keys_redis as keys
from teahouse.sales.rejoining_redis import REJOIN_SECONDS
from tests.redis_servers import redis_cluster, redis_sentinels
from tests.sales.shop import ANN, BOB, CAT
from tests.sales.shop_redis import opened_redis_shop

DEADLINE_SECONDS = 30


@pytest.fixture
def keeper():
    return "redis"


async def a_whole_day(shop):
    """Sales on many shards, and all that can happen to an order; returns the sales."""
    sales = [await shop.sale(stock=4, limit=2, pay=60) for _ in range(12)]
    assert len({keys.shard_of(sale.sale.id) for sale in sales}) > 1
    made = await asyncio.gather(*(shop.buy(sale, buyer, "k", 1) for sale in sales for buyer in (ANN, BOB, CAT)))
    for sale, first, second in zip(sales, made[::3], made[1::3], strict=True):
        assert await shop.buy(sale, ANN) == first
        await shop.service.cancel(ANN, first.id)
        await shop.pay(second.id)
    shop.clock.advance(60)
    assert await shop.ledger.expire_due() == len(sales)
    await shop.buy(sales[0], ANN, "last", 2)
    with pytest.raises(SoldOut):
        await shop.buy(sales[0], CAT, "last", 2)
    assert len(await shop.service.orders(ANN, before=None, limit=100)) == len(sales) + 1
    return sales


async def test_everything_works_on_a_cluster_as_on_one_server(tmp_path):
    with redis_cluster(tmp_path / "redis") as cluster:
        async with opened_redis_shop(cluster.url, tmp_path) as shop:
            sales = await a_whole_day(shop)
            assert await shop.tally(sales[0]) == Tally(4, 1, 2, 1)
            for sale in sales[1:]:
                assert await shop.tally(sale) == Tally(4, 3, 0, 1)
            shop.clock.advance(300)
            shop.ledger.backlog._tidy_at = 0.0
            await shop.ledger.backlog.tidy()
            assert len(await shop.service.orders(BOB, before=None, limit=100)) == len(sales)


async def test_a_failover_is_looked_at_by_everybody_before_anything_is_sold(tmp_path):
    with redis_sentinels(tmp_path / "redis") as group:
        async with opened_redis_shop(group.url, tmp_path) as shop:
            sale = await shop.sale(stock=5, limit=5)
            made = await shop.buy(sale, ANN)
            primary = group.primary
            # All that was acknowledged has reached the replica.
            await shop.redis.ask("WAIT", 1, 5000)
            primary.kill()
            told = set()
            deadline = time.monotonic() + DEADLINE_SECONDS
            while True:
                assert time.monotonic() < deadline
                try:
                    assert await shop.buy(sale, ANN) == made
                    break
                except Problem as problem:
                    told.add(type(problem).__name__)
                if shop.ledger._rejoining._shown == shop.redis.incarnation != shop.ledger._rejoining._agreed:
                    shop.clock.advance(REJOIN_SECONDS)
                await asyncio.sleep(0.02)
            assert told <= {"RedisUnavailable", "OutcomeUnknown"}
            await shop.buy(sale, BOB)
            assert (await shop.tally(sale)).reserved == 2
