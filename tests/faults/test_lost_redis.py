"""Redis came back without its last moments, or with nothing: nothing is sold wrongly, and a repair makes it whole."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import DatabaseServer
from tests.faults.nodes import Shop, shop_of, until
from tests.faults.rush import Rush, account, rush
from tests.journeys.people import log_in_boss, refused
from tests.proxies import Proxy, proxy_to
from tests.redis_servers import RedisServer, redis_server


@pytest.fixture(scope="module")
def to_database(mariadb_session: DatabaseServer) -> Iterator[Proxy]:
    with proxy_to(mariadb_session.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, mariadb_session: DatabaseServer, to_database: Proxy
) -> Iterator[Shop]:
    directory = tmp_path_factory.mktemp("lost")
    url = to_database.through(mariadb_session.url("{name}"))
    with (
        redis_server(directory / "redis", aof=True) as redis,
        shop_of(directory, redis, mariadb_session, database_url=url) as shop,
    ):
        yield shop


def forget(redis: RedisServer, kept: Path | None) -> None:
    """It dies, and comes back with what was on disk when ``kept`` was copied, or with nothing."""
    redis.kill()
    log = redis.folder / "appendonlydir"
    shutil.rmtree(log)
    if kept is not None:
        shutil.copytree(kept, log)
    redis.start()


async def nothing_is_sold(crowd: Rush) -> None:
    """Everybody is told that the stock is lost, and nobody that it is sold out."""
    known, before = len(crowd.told), crowd.refused["stock-lost"]
    for _ in range(600):
        if crowd.refused["stock-lost"] >= before + 10:
            break
        await crowd.lasts(0.05)
    assert crowd.refused["stock-lost"] >= before + 10, crowd.summary()
    assert len(crowd.told) == known
    assert not crowd.sold_out
    for place in range(len(crowd.clients)):
        await crowd.log_in_again(0)
        refused(await crowd.at(place, 0).buy(crowd.sale, f"lost-{place}"), 503, "stock-lost")


async def repaired(shop: Shop, sale: str) -> set[str]:
    """Repairs on every node; the ids of the orders that are reported as lost."""
    lost: set[str] = set()
    for node in shop.nodes:
        done = await asyncio.to_thread(node.command, "reconcile", "--sale", sale, "--repair")
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        for line in done.stdout.splitlines():
            kind, _, rest = line.partition("  ")
            if kind == "order-lost":
                # What other sales lost is told as well.
                lost |= {rest.partition("  ")[0]} if rest.endswith(sale) else set()
            else:
                assert line == "No difference." or line.endswith("(repaired)"), line
    return lost


def leave_out(crowd: Rush, lost: set[str]) -> int:
    """What was reported is no order any more. How many of them their buyers had been told of."""
    gone = [purchase for purchase, body in crowd.told.items() if json.loads(body)["orderId"] in lost]
    for purchase in gone:
        del crowd.told[purchase]
    return len(gone)


async def test_without_its_last_moments_redis_sells_nothing_until_what_sql_has_is_restored(shop: Shop, tmp_path: Path):
    async with rush(shop) as crowd:
        await crowd.sells(40)
        kept = tmp_path / "kept"
        await asyncio.to_thread(shutil.copytree, shop.redis.folder / "appendonlydir", kept)
        await crowd.sells(60)
        await asyncio.to_thread(forget, shop.redis, kept)
        await nothing_is_sold(crowd)
        told = len(crowd.told)
        lost = await repaired(shop, crowd.sale["id"])
        # SQL is a few moments behind at most.
        assert leave_out(crowd, lost) < told / 2
        print("lost for good:", len(lost), "of", told, "sold on after", await crowd.sells())
        await account(crowd)


async def test_without_anything_redis_sells_nothing_until_what_sql_has_is_restored(shop: Shop):
    async with rush(shop, pays=True, logs_in_again=True) as crowd:
        await crowd.sells(60)
        await crowd.rests()
        await asyncio.to_thread(until, lambda: shop.unrecorded() == 0, "SQL has everything")
        await asyncio.to_thread(forget, shop.redis, None)
        crowd.paused = False
        await nothing_is_sold(crowd)
        assert await repaired(shop, crowd.sale["id"]) == set()
        await crowd.sells()
        await everybody_logs_in(crowd)
        await account(crowd)


async def test_orders_that_neither_sql_nor_redis_has_are_reported_by_their_ids(shop: Shop, to_database: Proxy):
    async with rush(shop, logs_in_again=True) as crowd:
        await crowd.sells(30)
        await crowd.rests()
        await asyncio.to_thread(until, lambda: shop.unrecorded() == 0, "SQL has everything")
        safe = set(crowd.told)
        to_database.refuse()
        crowd.paused = False
        await crowd.sells(30)
        await crowd.rests()
        promised = {json.loads(body)["orderId"] for purchase, body in crowd.told.items() if purchase not in safe}
        # Receipts are gathered for a moment.
        await asyncio.to_thread(until, lambda: promised <= receipts(shop), "every receipt is written")
        await asyncio.to_thread(forget, shop.redis, None)
        to_database.accept()
        crowd.paused = False
        await nothing_is_sold(crowd)
        assert await repaired(shop, crowd.sale["id"]) == promised
        assert leave_out(crowd, promised) == len(promised)
        await crowd.sells()
        await everybody_logs_in(crowd)
        await account(crowd)


async def everybody_logs_in(crowd: Rush) -> None:
    """Sessions went with everything else."""
    crowd.boss.tokens = (await log_in_boss(crowd.boss.client)).tokens
    for number in range(len(crowd.buyers)):
        await crowd.log_in_again(number)


def receipts(shop: Shop) -> set[str]:
    """The ids on the nodes' own disks."""
    found: set[str] = set()
    for node in shop.nodes:
        for path in (node.directory / "data" / "receipts").glob("*.jsonl"):
            found |= {line[2:34] for line in path.read_text().splitlines()}
    return found
