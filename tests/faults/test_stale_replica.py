"""A replica that stops to follow, or stops at all: buyers see what they wrote, on every node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from teahouse.web.client import Client
from tests.databases import Replication
from tests.faults.nodes import Shop, shop_of, until
from tests.faults.rush import Rush, account, rush
from tests.redis_servers import redis_server


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, replication_session: Replication) -> Iterator[Shop]:
    """Two nodes that read from the replica."""
    directory: Path = tmp_path_factory.mktemp("replicated")
    primary, replica = replication_session.primary, replication_session.replica
    settings = {"TEAHOUSE_DATABASE__REPLICAS": replica.url("{name}")}
    with redis_server(directory / "redis", aof=True) as redis, shop_of(directory, redis, primary, **settings) as shop:
        yield shop


@pytest.fixture
async def reading(shop: Shop, replication_session: Replication) -> AsyncIterator[Shop]:
    """The shop, with a replica that follows before and after."""
    await asyncio.to_thread(replication_session.caught_up)
    yield shop
    replication_session.replica.sql("START SLAVE")


async def sees_what_they_wrote(crowd: Rush, turn: int) -> None:
    """A buyer changes their name and buys at one node, and looks at both."""
    number = turn % len(crowd.buyers)
    here = crowd.at(turn, number)
    there = crowd.at(turn + 1, number)
    name = f"tea drinker {turn}"
    assert (await here.put("/v1/me", json={"nickname": name})).status == 200
    assert (await here.get("/v1/me")).json()["nickname"] == name
    made = await here.buy(crowd.sale, f"seen-{turn}")
    assert made.status == 202, made.body
    crowd.told[number, f"seen-{turn}"] = made.body
    order = made.json()["orderId"]
    for who in (here, there):
        assert (await who.get(f"/v1/orders/{order}")).status == 200
        assert order in {each["orderId"] for each in (await who.get("/v1/orders")).json()["items"]}
    cancelled = await there.post(f"/v1/orders/{order}/cancel")
    assert cancelled.status == 200, cancelled.body
    crowd.became[order] = "cancelled"
    for who in (there, here):
        assert (await who.get(f"/v1/orders/{order}")).json()["status"] == "cancelled"
        mine = {each["orderId"]: each["status"] for each in (await who.get("/v1/orders")).json()["items"]}
        assert mine[order] == "cancelled"


async def test_while_the_replica_does_not_follow_buyers_see_what_they_wrote(
    reading: Shop, replication_session: Replication
):
    async with rush(reading, buyers=4) as crowd:
        for turn in range(60):
            if turn == 10:
                await asyncio.to_thread(replication_session.replica.sql, "STOP SLAVE")
            if turn == 40:
                for node in reading.nodes:
                    await asyncio.to_thread(until, lambda node=node: "is lagging" in node.said, "it is left out")
                await asyncio.to_thread(replication_session.replica.sql, "START SLAVE")
            await sees_what_they_wrote(crowd, turn)
            # Some time goes by, so that the replica is judged in between.
            await crowd.lasts(0.05)
        await account(crowd)
        assert not crowd.refused, crowd.summary()


async def test_a_replica_that_is_left_out_is_read_by_nobody_and_comes_back(
    reading: Shop, replication_session: Replication
):
    async with rush(reading, buyers=2) as crowd:
        await asyncio.to_thread(replication_session.replica.sql, "STOP SLAVE")
        product = {"name": "Biluochun", "price": 100}
        made = (await crowd.boss.post("/v1/products", json=product)).json()["id"]
        for client in crowd.clients:
            await _until_listed(client, made, crowd)
        await account(crowd)


async def _until_listed(client: Client, product: str, crowd: Rush) -> None:
    for _ in range(100):
        listed = {each["id"] for each in (await client.get("/v1/products")).json()["items"]}
        if product in listed:
            return
        await crowd.lasts(0.05)
    raise AssertionError("a stale replica answers for longer than 5 s")
