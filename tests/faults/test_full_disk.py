"""The database's disk is full in the middle of a sale: Redis goes on selling; SQL takes it all when there is room."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.databases import MariaDb
from tests.faults.nodes import Shop, shop_of, until
from tests.faults.rush import account, rush
from tests.redis_servers import RedisServer

_MEGABYTES = 160
REFUSED = "orders wait to be recorded"


@contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of its own. Only root may mount one: skipped otherwise, and in a container that forbids it."""
    folder = Path(tempfile.mkdtemp(prefix="tea-", dir="/tmp"))
    words = ["mount", "-t", "tmpfs", "-o", f"size={_MEGABYTES}m,mode=755", "tmpfs", str(folder)]
    try:
        if os.geteuid() or subprocess.run(words, check=False, capture_output=True).returncode:
            pytest.skip("a small disk cannot be mounted here")
        yield folder
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database() -> Iterator[MariaDb]:
    """A durable database on a small disk of its own."""
    with small_disk() as folder:
        server = MariaDb(folder, durable=True)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@pytest.fixture
def shop(tmp_path: Path, redis_alone: RedisServer, database: MariaDb) -> Iterator[Shop]:
    # No statement may outlast a caller's patience, whatever the database waits for.
    with shop_of(tmp_path, redis_alone, database, TEAHOUSE_DATABASE__TIMEOUT_SECONDS="3") as shop:
        yield shop


def fill(folder: Path) -> Path:
    """Takes all the room there is."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    assert shutil.disk_usage(folder).free < 4096
    return ballast


async def test_while_the_databases_disk_is_full_redis_goes_on_selling_and_nothing_is_set_aside(
    shop: Shop, database: MariaDb
):
    async with rush(shop, buyers=24) as crowd:
        await crowd.sells()
        ballast = await asyncio.to_thread(fill, database.folder)
        await asyncio.to_thread(until, lambda: any(REFUSED in node.said for node in shop.nodes), "SQL takes no more")
        await crowd.sells(100)
        recorded = await asyncio.to_thread(shop.rows, f"SELECT id FROM orders WHERE sale_id = '{crowd.sale['id']}'")
        assert len(recorded) <= len(crowd.told) - 50
        # Whoever asks SQL is answered, one way or the other.
        begun = time.monotonic()
        assert (await crowd.at(0, 0).get("/v1/orders")).status in (200, 503)
        assert (await crowd.boss.post("/v1/products", json={"name": "Maojian", "price": 1})).status in (201, 503)
        assert time.monotonic() - begun < 12.0
        ballast.unlink()
        back = time.monotonic()
        await account(crowd)
        print("all in SQL after", time.monotonic() - back)
        aside = [shop.redis.cli("EXISTS", f"teahouse:{{{shard}}}:set-aside") for shard in "0123456789abcdef"]
        assert not any(aside)
