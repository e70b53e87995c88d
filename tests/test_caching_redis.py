"""Two nodes on a real Redis: what is kept there, how changes travel, and what happens while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from redis.connection import Connection

from teahouse.caching import Cache, Times
from teahouse.caching.shared_redis import RedisCache
from teahouse.clock import Clock
from teahouse.engines.redis import Redis
from teahouse.engines.redis_feed import Feed
from tests.caching_shop import STEADY, Truth, cache_of
from tests.redis_servers import RedisServer, redis_server

PLACE = "teahouse:cache:numbers:a"


class Node:
    """One process: its connection, its feed, its cache."""

    def __init__(self, url: str, truth: Truth, times: Times = STEADY, kind: type = int, version: int = 1) -> None:
        self.redis = Redis(url, timeout_seconds=0.5)
        self.feed = Feed(self.redis)
        self.layer = RedisCache(self.redis, self.feed, kind, name="numbers", clock=truth.clock, version=version)
        self.cache: Cache[int] = cache_of(truth, self.layer, times=times)


@asynccontextmanager
async def running(node: Node) -> AsyncIterator[Node]:
    await node.redis.connect()
    try:
        await node.feed.start()
        # A node that is new asks the primary; what is tested here is one that has been running for a while.
        await node.cache.get("warm")
        node.cache.changes._all_until = 0.0
        yield node
    finally:
        await node.cache.aclose()
        await node.feed.aclose()
        await node.redis.aclose()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis", aof=True) as server:
        yield server


@pytest.fixture
def truth() -> Truth:
    truth = Truth(Clock())
    truth.write("a", 1)
    truth.write("b", 1)
    return truth


@pytest.fixture
async def nodes(server: RedisServer, truth: Truth) -> AsyncIterator[tuple[Node, Node]]:
    async with running(Node(server.url, truth)) as one, running(Node(server.url, truth)) as other:
        truth.loads.clear()
        yield one, other


async def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def shared(server: RedisServer) -> None:
    await until(lambda: stored(server)[8:9] == b"V")


def stored(server: RedisServer) -> bytes:
    connection = Connection(host="127.0.0.1", port=server.port, protocol=2)
    try:
        connection.send_command("GET", PLACE)
        return connection.read_response() or b""
    finally:
        connection.disconnect()


async def test_what_is_loaded_is_kept_in_redis_for_a_time_and_read_by_other_nodes(
    nodes: tuple[Node, Node], truth: Truth, server: RedisServer
) -> None:
    one, other = nodes
    assert await one.cache.get("a") == 1
    await shared(server)
    assert await other.cache.get("a") == 1
    assert truth.loads == [(["a"], False)]
    assert 0 < server.cli("PTTL", PLACE) <= 60_000


async def test_a_change_is_seen_on_every_node_in_moments(
    nodes: tuple[Node, Node], truth: Truth, server: RedisServer
) -> None:
    one, other = nodes
    for number in range(2, 6):
        await one.cache.get("a")
        await other.cache.get("a")
        async with one.cache.changing("a"):
            truth.write("a", number)
        assert await one.cache.get("a") == number
        await until(lambda: other.cache.cached("a") is None)
        assert await other.cache.get("a") == number
    assert server.cli("GET", PLACE) == "T"
    assert 9_000 < server.cli("PTTL", PLACE) <= 10_000


class OldNumber(msgspec.Struct):
    value: int


class NewNumber(msgspec.Struct):
    value: str


@pytest.mark.parametrize(
    ("before", "after"),
    [({"kind": OldNumber}, {"kind": NewNumber}), ({"version": 1}, {"version": 2})],
)
async def test_an_entry_of_another_release_is_a_miss(server: RedisServer, truth: Truth, before, after) -> None:
    async with running(Node(server.url, truth, **before)) as old, running(Node(server.url, truth, **after)) as new:
        await old.cache.get("a")
        await shared(server)
        before_it = stored(server)
        truth.loads.clear()
        assert await new.cache.get("a") == 1
        assert truth.loads == [(["a"], False)]
        await shared(server)
        assert stored(server) != before_it


async def test_a_tombstone_of_another_release_is_respected(
    nodes: tuple[Node, Node], truth: Truth, server: RedisServer
) -> None:
    one, _ = nodes
    server.cli("SET", PLACE, "T", "PX", 60_000)
    assert await one.cache.get("a") == 1
    assert truth.loads == [(["a"], True)]
    assert server.cli("GET", PLACE) == "T"


@pytest.mark.parametrize("tail", [b"V\xc1", b"V", b"Vabc", b"X", b"", b"V\x81\xa1"])
async def test_an_entry_that_cannot_be_read_is_a_miss(
    nodes: tuple[Node, Node], truth: Truth, server: RedisServer, tail: bytes
) -> None:
    one, _ = nodes
    server.cli("SET", PLACE, one.layer._stamp + tail, "PX", 60_000)
    assert await one.cache.get("a") == 1
    assert truth.loads == [(["a"], True)]


@pytest.mark.parametrize("junk", [b"", b"\x00" * 9, b"{}", b"TT"])
async def test_what_is_not_ours_is_replaced(
    nodes: tuple[Node, Node], truth: Truth, server: RedisServer, junk: bytes
) -> None:
    one, other = nodes
    server.cli("SET", PLACE, junk, "PX", 60_000)
    assert await one.cache.get("a") == 1
    await shared(server)
    assert await other.cache.get("a") == 1
    assert len(truth.loads) == 1


async def test_a_key_of_another_type_is_a_miss(nodes: tuple[Node, Node], truth: Truth, server: RedisServer) -> None:
    one, _ = nodes
    server.cli("LPUSH", PLACE, "x")
    assert await one.cache.get("a") == 1
    assert truth.loads == [(["a"], True)]


async def test_what_callers_may_not_choose_reaches_neither_memory_nor_redis(
    nodes: tuple[Node, Node], server: RedisServer
) -> None:
    one, _ = nodes
    known = len(one.cache.local)
    for key in ("x" * 129, "a\nb", "\ud800", "茶", "\x00"):
        assert await one.cache.get(key) is None
        await one.cache.invalidate(key)
    assert len(one.cache.local) == known
    assert server.cli("KEYS", "teahouse:cache:*") == []


async def test_while_redis_is_away_reads_go_to_the_primary_and_changes_are_told_when_it_is_back(
    nodes: tuple[Node, Node], truth: Truth, server: RedisServer
) -> None:
    one, other = nodes
    assert await one.cache.get("a") == 1
    server.kill()
    truth.write("a", 2)
    await one.cache.invalidate("a")
    assert await one.cache.get("a") == 2
    await until(lambda: other.cache.cached("a") is None)
    assert await other.cache.get("a") == 2
    assert one.cache.changes.untold == 1
    server.start()
    await until(lambda: one.cache.changes.untold == 0)
    assert server.cli("GET", PLACE) == "T"


async def test_a_redis_that_came_back_empty_and_one_with_old_entries_are_not_believed(
    nodes: tuple[Node, Node], truth: Truth, server: RedisServer
) -> None:
    one, other = nodes
    await one.cache.get("a")
    await shared(server)
    server.kill()
    truth.lag = 1000.0
    truth.write("a", 2)
    server.start()
    assert stored(server)[8:9] == b"V"
    await until(lambda: one.redis.connected and other.redis.connected)
    for node in nodes:
        await until(lambda node=node: node.cache.cached("a") is None)
        assert await node.cache.get("a") == 2
    assert all(fresh for keys, fresh in truth.loads[1:])


async def test_a_lost_feed_leaves_nothing_old_for_longer_than_a_second(
    nodes: tuple[Node, Node], truth: Truth, server: RedisServer
) -> None:
    one, other = nodes
    await other.cache.get("a")
    server.cli("CLIENT", "KILL", "TYPE", "pubsub")
    truth.write("a", 2)
    await one.cache.invalidate("a")
    told_at = time.monotonic()
    await until(lambda: other.cache.cached("a") is None)
    assert time.monotonic() - told_at < 1.5
    assert await other.cache.get("a") == 2
    await until(lambda: other.feed.current)


async def test_a_redis_that_does_not_answer_holds_reads_up_for_its_time_out_at_most(
    nodes: tuple[Node, Node], truth: Truth, server: RedisServer
) -> None:
    one, _ = nodes
    server.pause()
    try:
        started = time.monotonic()
        async with asyncio.timeout(5):
            assert await one.cache.get("a") == 1
            assert await one.cache.get("b") == 1
        assert time.monotonic() - started < 3
    finally:
        server.resume()


async def test_misses_of_one_moment_are_one_pipeline_and_one_load(nodes: tuple[Node, Node], truth: Truth) -> None:
    one, _ = nodes
    flushes = one.redis.batcher.sizes.flushes
    await asyncio.gather(*(one.cache.get(f"many{number}") for number in range(100)))
    assert [len(keys) for keys, fresh in truth.loads if not fresh] == [100]
    # Read, perhaps told the script first, and filled.
    assert one.redis.batcher.sizes.flushes - flushes <= 4


async def test_the_last_of_many_changes_is_what_every_node_ends_with(server: RedisServer, truth: Truth) -> None:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(running(Node(server.url, truth))) for _ in range(3)]
        last = 40

        async def write() -> None:
            for number in range(2, last + 1):
                writer = nodes[number % 3].cache
                async with writer.changing("a"):
                    truth.write("a", number)
                assert await writer.get("a") == number

        async def read(node: Node) -> None:
            deadline = time.monotonic() + 5
            while await node.cache.get("a") != last:
                assert time.monotonic() < deadline
                await asyncio.sleep(0)

        await asyncio.gather(write(), *(read(node) for node in nodes))
        for node in nodes:
            assert await node.cache.get("a") == last
