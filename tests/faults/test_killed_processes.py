"""``kill -9`` of a worker, of a node, and of the recorder, in the middle of a sale on Redis and a database."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.databases import PASSWORD, USER, DatabaseServer, binary
from tests.faults.nodes import Shop, shop_of, until
from tests.faults.rush import Rush, account, rush
from tests.journeys.servers import is_ready
from tests.proxies import UP, proxy_to
from tests.redis_servers import RedisServer, redis_server


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory, mariadb_session: DatabaseServer) -> Iterator[Shop]:
    """Two nodes of two workers each."""
    directory = tmp_path_factory.mktemp("crowded")
    with (
        redis_server(directory / "redis", aof=True) as redis,
        shop_of(directory, redis, mariadb_session, workers=2) as shop,
    ):
        yield shop


async def test_a_worker_killed_in_the_middle_of_a_sale_is_replaced_and_loses_no_order(crowded: Shop):
    chance = random.Random(1)
    node = crowded.nodes[0]
    async with rush(crowded, pays=True) as crowd:
        for _ in range(3):
            await crowd.sells(chance.randint(5, 30))
            before = node.workers
            victim = chance.choice(before)
            os.kill(victim, signal.SIGKILL)
            # Those who are left, and the other node, sell on.
            print("sold on after", await crowd.sells(5))
            await _until(lambda gone=victim: len(node.workers) == 2 and gone not in node.workers)
        await crowd.sells()
        await account(crowd, all_answered=False)
        assert not crowd.refused, crowd.summary()


async def test_a_node_killed_in_the_middle_of_a_sale_is_stood_in_for_and_comes_back(crowded: Shop):
    async with rush(crowded, pays=True) as crowd:
        await crowd.sells()
        await asyncio.to_thread(crowded.nodes[1].kill)
        print("sold on after", await crowd.sells())
        await asyncio.to_thread(crowded.nodes[1].start)
        await crowd.sells()
        await account(crowd, all_answered=False)
        assert crowd.lost > 0
        assert not crowd.refused, crowd.summary()


async def test_the_last_units_are_sold_once_while_workers_are_killed(crowded: Shop):
    """Scarce stock: everybody who is told "sold out" is told the truth."""
    chance = random.Random(2)
    async with rush(crowded, stock=60, buyers=16) as crowd:
        for node in (crowded.nodes[0], crowded.nodes[1]):
            await crowd.sells(10)
            os.kill(chance.choice(node.workers), signal.SIGKILL)
        await _until(lambda: len(crowd.sold_out) > 20)
        await account(crowd, all_answered=False)
        assert len(crowd.told) == 60
        await _until(lambda: all(len(node.workers) == 2 and is_ready(node.url) for node in crowded.nodes))


async def test_unpaid_stock_of_a_node_that_was_killed_returns_once_at_the_node_that_is_left(crowded: Shop):
    async with rush(crowded, stock=40, buyers=8, payWithinSeconds=2) as crowd:
        await crowd.sells(40)
        crowd.over = True
        await asyncio.to_thread(crowded.nodes[1].kill)
        books = f"/v1/sales/{crowd.sale['id']}/reconciliation"
        deadline = time.monotonic() + 60
        while (found := (await crowd.boss.get(books)).json())["reserved"]:
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.1)
        assert (found["remaining"], found["sold"], found["difference"]) == (40, 0, 0)
        (number, _), body = next(iter(crowd.told.items()))
        late = await crowd.at(0, number).post("/v1/sandbox/payments", json={"orderId": json.loads(body)["orderId"]})
        assert late.status == 200, late.body
        assert late.json()["state"] == "settled", late.body
        statuses = f"SELECT status, COUNT(*) FROM orders WHERE sale_id = '{crowd.sale['id']}' GROUP BY status"
        made = str(len(crowd.told) - 1)
        await _until(lambda: sorted(crowded.rows(statuses)) == [["expired", made], ["paid", "1"]])
        await asyncio.to_thread(crowded.nodes[1].start)
        found = (await crowd.boss.get(books)).json()
        assert (found["remaining"], found["sold"], found["difference"]) == (39, 1, 0)


# --- the recorder -----------------------------------------------------------------------------------------------------


@contextmanager
def locked_orders(database: DatabaseServer, name: str) -> Iterator[subprocess.Popen[str]]:
    """Nobody writes orders until the block ends."""
    where = [
        f"--port={database.port}",
        "--host=127.0.0.1",
        "--protocol=tcp",
        f"--user={USER}",
        f"--password={PASSWORD}",
    ]
    words = [binary("mariadb"), "--no-defaults", *where, "--batch", "--skip-column-names", "--unbuffered", name]
    with subprocess.Popen([*words, *where], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write("LOCK TABLES orders WRITE; SELECT 'locked';\n")
        client.stdin.flush()
        assert client.stdout.readline().strip() == "locked"
        yield client


async def test_a_recorder_killed_between_its_commit_and_its_acknowledgement_records_each_order_once(
    tmp_path: Path, redis_alone: RedisServer, mariadb_session: DatabaseServer
):
    with proxy_to(redis_alone.port) as proxy:
        urls = [proxy.through(redis_alone.url), redis_alone.url]
        # A transaction may wait for its lock for a third of it.
        patient = {"TEAHOUSE_DATABASE__TIMEOUT_SECONDS": "30"}
        # The first to start leads.
        with shop_of(tmp_path, redis_alone, mariadb_session, redis_urls=urls, **patient) as shop:
            async with rush(shop, buyers=4) as crowd:
                await crowd.sells(20)
                await asyncio.to_thread(_kill_the_recorder_before_it_acknowledges, shop, crowd, proxy)
                assert shop.pending() > 0
                print("sold on after", await crowd.sells(10))
                begun = time.monotonic()
                await asyncio.to_thread(until, lambda: shop.pending() == 0, "another took over")
                print("another recorder took over after", time.monotonic() - begun)
                await asyncio.to_thread(shop.nodes[0].start)
                await account(crowd, all_answered=False)


def _kill_the_recorder_before_it_acknowledges(shop: Shop, crowd: Rush, proxy) -> None:
    count = f"SELECT COUNT(*) FROM orders WHERE sale_id = '{crowd.sale['id']}'"
    with locked_orders(shop.database, shop.name) as client:
        until(lambda: shop.pending() > 0, "the recorder took entries")
        # It waits for the lock now. What it says to Redis from here on is heard by nobody.
        proxy.swallow(UP)
        held = shop.pending()
        said, _ = client.communicate(f"{count};\nUNLOCK TABLES;\n")
    until(lambda: int(shop.rows(count)[0][0]) > int(said), "the recorder has committed")
    assert shop.pending() >= held > 0
    shop.nodes[0].kill()
    proxy.carry()


async def _until(is_so, seconds: float = 60.0) -> None:
    await asyncio.to_thread(until, is_so, "it is so", seconds)
