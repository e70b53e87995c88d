"""What a shared layer of a cache guarantees, on every backend."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from teahouse.caching import MISSING, SharedLayer
from teahouse.caching.shared_redis import RedisCache
from teahouse.clock import Clock
from teahouse.engines.redis import Redis
from teahouse.engines.redis_feed import Feed
from teahouse.problems import OutcomeUnknown, RedisUnavailable
from tests.caching_memory import Memory, MemoryLayer
from tests.clocks import ManualClock
from tests.redis_servers import RedisServer, redis_server

BRIEF = 0.05
LONG = 30.0


class Shop:
    """Two nodes on one shared layer, what each heard, and the layer's switch."""

    def __init__(self, one: SharedLayer[int], other: SharedLayer[int]) -> None:
        self.one, self.other = one, other
        self.heard: tuple[list[str], list[str]] = ([], [])
        self.cleared = [0, 0]
        for place, layer in enumerate((one, other)):
            layer.listen(self.heard[place].append, self._clear(place))

    def _clear(self, place: int) -> Callable[[], None]:
        def clear() -> None:
            self.cleared[place] += 1

        return clear

    async def hear(self) -> None:
        """What was told has time to arrive."""

    async def wait(self, seconds: float) -> None:
        """That much time passes for the layer."""

    async def switch_off(self) -> None:
        """The layer is out of reach from now on."""


class MemoryShop(Shop):
    def __init__(self) -> None:
        self.memory = Memory(ManualClock())
        super().__init__(MemoryLayer(self.memory), MemoryLayer(self.memory))

    async def hear(self) -> None:
        for node in self.memory.nodes:
            node.hear()

    async def wait(self, seconds: float) -> None:
        self.memory.clock.advance(seconds)

    async def switch_off(self) -> None:
        for node in self.memory.nodes:
            node.connected = False


class RedisShop(Shop):
    def __init__(self, server: RedisServer, nodes: list[tuple[Redis, Feed]]) -> None:
        self.server = server
        self.nodes = nodes
        super().__init__(*(RedisCache(redis, feed, int, name="numbers", clock=Clock()) for redis, feed in nodes))

    async def hear(self) -> None:
        # In order from one sender: when this has come, so has what was told before.
        come = [asyncio.Event() for _ in self.nodes]
        for (_, feed), event in zip(self.nodes, come, strict=True):
            feed.on("mark", lambda _, event=event: event.set())
        await self.nodes[0][1].publish("mark", "")
        async with asyncio.timeout(5):
            for event in come:
                await event.wait()

    async def wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() <= deadline:
            await asyncio.sleep(seconds / 4)

    async def switch_off(self) -> None:
        self.server.kill()


@pytest.fixture(params=["memory", "redis"])
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    if request.param == "memory":
        yield MemoryShop()
        return
    with redis_server(tmp_path / "redis") as server:
        connections = [Redis(server.url, timeout_seconds=1.0) for _ in range(2)]
        nodes = [(redis, Feed(redis)) for redis in connections]
        for redis in connections:
            await redis.connect()
        shop = RedisShop(server, nodes)
        for _, feed in nodes:
            await feed.start()
        yield shop
        for layer in (shop.one, shop.other):
            await layer.aclose()
        for redis, feed in nodes:
            await feed.aclose()
            await redis.aclose()


async def settled(read: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 5
    while not await read():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def lease(layer: SharedLayer[int], key: str) -> bytes:
    """The first read of a node may hold nothing: it does not know yet what the layer lost."""
    for _ in range(2):
        (held,) = await layer.read([key])
        if held.lease is not None:
            break
    assert held.value is None
    assert held.lease is not None
    return held.lease


async def filled(layer: SharedLayer[int], key: str, seconds: float = LONG) -> None:
    layer.fill(key, await lease(layer, key), 42, seconds)

    async def there() -> bool:
        return (await layer.read([key]))[0].value == 42

    await settled(there)


async def ready(shop: Shop) -> None:
    for layer in (shop.one, shop.other):
        await lease(layer, "first")


async def test_what_one_node_fills_every_node_reads_with_the_time_it_has_left(shop: Shop) -> None:
    await ready(shop)
    await filled(shop.one, "a")
    (held,) = await shop.other.read(["a"])
    assert held.value == 42
    assert LONG - 5 < held.seconds <= LONG


async def test_that_there_is_nothing_is_held_too(shop: Shop) -> None:
    await ready(shop)
    shop.one.fill("a", await lease(shop.one, "a"), MISSING, LONG)

    async def there() -> bool:
        return (await shop.other.read(["a"]))[0].value is MISSING

    await settled(there)


async def test_each_key_is_answered_for_itself_in_order(shop: Shop) -> None:
    await ready(shop)
    await filled(shop.one, "b")
    await shop.one.change("c", LONG)
    a, b, c = await shop.other.read(["a", "b", "c"])
    assert a.lease is not None
    assert b.value == 42
    assert (c.value, c.lease) == (None, None)


async def test_those_who_ask_before_it_is_filled_share_one_lease(shop: Shop) -> None:
    await ready(shop)
    assert await lease(shop.one, "a") == await lease(shop.other, "a")


async def test_a_lease_that_was_used_fills_nothing_more(shop: Shop) -> None:
    await ready(shop)
    late = await lease(shop.other, "a")
    await filled(shop.one, "a")
    shop.other.fill("a", late, 7, LONG)
    # The same connection: when this is filled, the one before was tried.
    await filled(shop.other, "b")
    assert (await shop.one.read(["a"]))[0].value == 42


async def test_a_change_ends_leases_and_gives_none_for_a_while(shop: Shop) -> None:
    await ready(shop)
    early = await lease(shop.one, "a")
    await shop.other.change("a", LONG)
    shop.one.fill("a", early, 42, LONG)
    await filled(shop.one, "b")
    for layer in (shop.one, shop.other):
        (held,) = await layer.read(["a"])
        assert (held.value, held.lease) == (None, None)


async def test_a_lease_from_before_a_change_fills_nothing_after_the_tombstone_either(shop: Shop) -> None:
    await ready(shop)
    early = await lease(shop.one, "a")
    await shop.other.change("a", BRIEF)
    await shop.wait(BRIEF)
    shop.one.fill("a", early, 42, LONG)
    await filled(shop.one, "b")
    assert await lease(shop.other, "a") != early
    shop.one.fill("a", early, 42, LONG)
    await filled(shop.one, "c")
    assert (await shop.other.read(["a"]))[0].value is None


async def test_a_change_forgets_what_was_held(shop: Shop) -> None:
    await ready(shop)
    await filled(shop.one, "a")
    await shop.one.change("a", BRIEF)
    assert (await shop.other.read(["a"]))[0].value is None
    await shop.wait(BRIEF)
    await filled(shop.other, "a")


async def test_an_entry_ends_with_its_time(shop: Shop) -> None:
    await ready(shop)
    await filled(shop.one, "a", 0.2)
    await shop.wait(0.2)
    assert await lease(shop.other, "a")


async def test_every_node_hears_of_a_change_once_it_is_held(shop: Shop) -> None:
    await ready(shop)
    await shop.one.change("a", LONG)
    await shop.one.change("b c", LONG)
    await shop.hear()
    assert shop.heard == (["a", "b c"], ["a", "b c"])
    assert shop.one.hearing()


async def test_a_node_is_told_to_clear_before_the_first_lease_it_gets(shop: Shop) -> None:
    """It cannot know what the layer lost before."""
    assert await lease(shop.one, "a")
    assert shop.cleared[0] >= 1


async def test_out_of_reach_is_neither_value_nor_lease_and_a_change_is_refused(shop: Shop) -> None:
    await ready(shop)
    await filled(shop.one, "a")
    kept = await lease(shop.one, "b")
    await shop.switch_off()
    for _ in range(3):
        (held,) = await shop.one.read(["a"])
        assert (held.value, held.lease) == (None, None)
        shop.one.fill("b", kept, 42, LONG)
    with pytest.raises((RedisUnavailable, OutcomeUnknown)):
        await shop.one.change("a", LONG)
