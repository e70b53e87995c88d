"""Who watches ends up knowing who is there, whatever happens to the nodes and to Redis between them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from teahouse.clock import Clock
from teahouse.engines.redis import Redis
from teahouse.messages.bus_redis import RedisBus
from teahouse.messages.hub import Hub
from teahouse.messages.presence_redis import RedisPresence
from teahouse.messages.service import Messages
from tests.engines.redis_clients import connected
from tests.messages.listeners import Listener, eventually
from tests.messages.memory_store import MemoryStore, direct, person, room
from tests.redis_servers import RedisServer

ROOM = room(1)
PACE = {"renew_seconds": 0.2, "stale_seconds": 1.0}


class Node:
    """A node without sockets: its hub, what people ask it, and its connection to Redis."""

    def __init__(self, redis: Redis, store: MemoryStore, **pace: float) -> None:
        self.redis = redis
        self.presence = RedisPresence(redis, **pace)
        self.hub = Hub(store, RedisBus(redis), presence=self.presence)
        self.messages = Messages(store, self.hub, clock=Clock())
        self.listeners: list[Listener] = []

    async def enters(self, number: int, name: str = "a") -> Listener:
        listener = Listener(person(number), f"{name}.{number}")
        await self.hub.enter(listener)
        self.listeners.append(listener)
        return listener

    async def stops(self) -> None:
        """In order, as a server does: sockets first."""
        for each in self.listeners:
            self.hub.leave(each)
        await self.messages.aclose()


@asynccontextmanager
async def node(url: str, store: MemoryStore, **pace: float):
    async with connected(url) as redis:
        node = Node(redis, store, **(pace or PACE))
        node.hub._watching.settle_seconds = 1.5
        await node.messages.start()
        try:
            yield node
        finally:
            await node.messages.aclose()


@pytest.fixture
def store():
    store = MemoryStore()
    for number in range(1, 41):
        store.join(person(number), ROOM)
    store.say(person(1), direct(1, 2))
    return store


async def asks(node: Node, watcher: Listener, to: str = ROOM) -> None:
    """As a socket does: what it is answered is sent to it as frames."""
    for user_id in await node.messages.presence(watcher, to):
        watcher.frames.append(
            b'{"type":"presence","to":"%b","userId":"%b","online":true}' % (to.encode(), user_id.encode())
        )


def taken_for_there(watcher: Listener, to: str = ROOM) -> set[str]:
    """Whom somebody who does what the frames say takes for online."""
    there: set[str] = set()
    for frame in watcher.heard:
        if frame["type"] == "presence" and frame["to"] == to:
            (there.add if frame["online"] else there.discard)(frame["userId"])
    return there


async def comes_to_know(watcher: Listener, *numbers: int, to: str = ROOM, seconds: float = 10.0) -> float:
    wanted = {person(number) for number in numbers}
    return await eventually(lambda: taken_for_there(watcher, to) == wanted, seconds)


async def test_an_orderly_stop_tells_before_it_is_over_who_has_gone_with_it(redis_shared: RedisServer, store):
    async with node(redis_shared.url, store) as one:
        watcher = await one.enters(1)
        async with node(redis_shared.url, store, renew_seconds=3.0, stale_seconds=15.0) as other:
            for number in range(2, 31):
                await other.enters(number)
            await comes_to_know_after_asking(one, watcher, range(2, 31))
            await other.stops()
            await comes_to_know(watcher, seconds=1.0)
        assert redis_shared.cli("KEYS", "*presence}:*") == [one.presence._mine]


async def comes_to_know_after_asking(node: Node, watcher: Listener, numbers) -> None:
    online = {person(number) for number in numbers}
    while await node.presence.online(online) != online:
        await asyncio.sleep(0.01)
    await asks(node, watcher)
    assert taken_for_there(watcher) == online


async def test_who_could_not_leave_in_time_is_told_by_a_node_that_stays(redis_shared: RedisServer, store):
    async with node(redis_shared.url, store) as one:
        watcher = await one.enters(1)
        async with node(redis_shared.url, store, renew_seconds=3.0, stale_seconds=15.0) as other:
            await other.enters(2)
            await comes_to_know_after_asking(one, watcher, [2])
            # Nobody said of them that they have left.
            await other.messages.aclose()
            await comes_to_know(watcher, seconds=3.0)


async def test_who_leaves_while_redis_is_away_is_known_as_gone_when_it_is_back(redis_alone: RedisServer, store):
    async with node(redis_alone.url, store) as one, node(redis_alone.url, store) as other:
        watcher, leaving = await one.enters(1), await other.enters(2)
        await other.enters(3)
        await comes_to_know_after_asking(one, watcher, [2, 3])
        redis_alone.kill()
        await eventually(lambda: not other.redis.connected and not one.redis.connected)
        other.hub.leave(leaving)
        redis_alone.start()
        await comes_to_know(watcher, 3)


async def test_a_redis_that_comes_back_empty_takes_nobody_away(redis_shared: RedisServer, tmp_path, store):
    server = RedisServer(tmp_path / "empty")
    server.start()
    try:
        async with node(server.url, store) as one, node(server.url, store) as other:
            watcher = await one.enters(1)
            leaving = await other.enters(2)
            for number in range(3, 11):
                await other.enters(number)
            await comes_to_know_after_asking(one, watcher, range(2, 11))
            before = len(watcher.frames)
            server.kill()
            await eventually(lambda: not other.redis.connected and not one.redis.connected)
            other.hub.leave(leaving)
            server.start()
            await comes_to_know(watcher, *range(3, 11))
            assert [(each["userId"], each["online"]) for each in watcher.heard[before:]] == [(person(2), False)]
    finally:
        server.kill()
