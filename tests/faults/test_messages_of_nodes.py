"""Two nodes over Redis, killed and restarted at random under load: every acknowledged message, once, in sequence."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.databases import DatabaseServer
from tests.faults.chatter import Chatter, Crowd, Said
from tests.faults.nodes import Shop, client_of, shop_of
from tests.faults.rush import BOUND_SECONDS
from tests.journeys.people import log_in, log_in_boss, put_on_sale
from tests.journeys.sockets import new_room, socket_of
from tests.messages.raw_websocket import RawSocket
from tests.redis_servers import RedisServer, redis_server

_PEOPLE, _ROOMS = 20, 5
_EVERY_SECONDS = 0.1
_KILLS = 14 if os.environ.get("CI") == "true" else 6
_BREAKS = 4
_UNHURRIED = {
    # What could not be sent while there was no node is sent at once.
    "TEAHOUSE_MESSAGES__FRAMES_PER_SECOND": "10000",
    "TEAHOUSE_MESSAGES__FRAMES_BURST": "10000",
}


@pytest.fixture(scope="module", params=["mariadb_session", "postgres_session"])
def shop(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Shop]:
    directory = tmp_path_factory.mktemp("talking")
    database: DatabaseServer = request.getfixturevalue(request.param)
    with (
        redis_server(directory / "redis", aof=True) as redis,
        shop_of(directory, redis, database, **_UNHURRIED) as shop,
    ):
        yield shop


@asynccontextmanager
async def crowd_at(shop: Shop, seed: int) -> AsyncIterator[Crowd]:
    """Everybody is in two rooms, and talks until the block ends."""
    chance = random.Random(seed)
    async with client_of(shop.nodes[0]) as client:
        people = [await log_in(client) for _ in range(_PEOPLE)]
        in_room = [[p for n, p in enumerate(people) if (n - room) % _ROOMS in (0, 1)] for room in range(_ROOMS)]
        rooms = [await new_room(*members) for members in in_room]
    ports = [node.realtime_port for node in shop.nodes]
    crowd = Crowd(
        [
            Chatter(person, ports, [rooms[room] for room in range(_ROOMS) if person in in_room[room]], chance)
            for person in people
        ]
    )
    crowd.start(_EVERY_SECONDS)
    try:
        yield crowd
    finally:
        slowest = max(each.slowest_sync for each in crowd.chatters)
        print(f"{crowd.acked} acknowledged, slowest sync {slowest:.2f} s", dict(crowd.counts))
        await crowd.stop()


async def test_every_acknowledged_message_reaches_every_member_once_in_sequence_whatever_is_killed(shop: Shop):
    chance = random.Random(4)
    async with crowd_at(shop, seed=5) as crowd:
        await crowd.says(100)
        for number in range(_KILLS):
            if number == _KILLS // 2:
                await redis_dies(shop.redis, crowd)
            await a_node_dies(shop, crowd, chance, both=number == _KILLS - 2)
            await the_bus_loses_something(shop.redis, crowd)
        await crowd.says(200)
        await everybody_hears_the_last_of_it(crowd)
        await in_the_end(shop, crowd)


async def a_node_dies(shop: Shop, crowd: Crowd, chance: random.Random, *, both: bool) -> None:
    """In the middle of whatever it does, and is started again; now and then the other one too, for a moment."""
    victims = chance.sample(shop.nodes, 2 if both else 1)
    for node in victims:
        await asyncio.to_thread(node.kill)
        await crowd.lasts(chance.uniform(0, 0.3))
    if not both:
        # Those who are left talk on.
        await crowd.says(chance.randint(10, 100))
    for node in victims:
        await asyncio.to_thread(node.start)
    await crowd.says(chance.randint(50, 150))


async def redis_dies(redis: RedisServer, crowd: Crowd) -> None:
    """What is said meanwhile is stored and acknowledged all the same."""
    await asyncio.to_thread(redis.kill)
    await crowd.says(100)
    await asyncio.to_thread(redis.start)
    await crowd.says(100)


async def the_bus_loses_something(redis: RedisServer, crowd: Crowd) -> None:
    """The nodes' subscriptions break while everybody goes on publishing."""
    broken = 0
    while broken < _BREAKS:
        broken += await asyncio.to_thread(redis.cli, "CLIENT", "KILL", "TYPE", "pubsub")
        await crowd.says(10)


async def everybody_hears_the_last_of_it(crowd: Crowd) -> None:
    """All is acknowledged, and everybody has it, whom nobody told to sync."""
    for each in crowd.chatters:
        each.quiet = True
    await crowd.until(lambda: not any(each.waiting for each in crowd.chatters), "everything is acknowledged")
    await crowd.until(lambda: all(each.welcomed and not each.syncing for each in crowd.chatters), "everybody is back")
    ends = {room: seq for each in crowd.chatters for room, seq in each.acked.values() if seq == furthest(crowd, room)}
    await crowd.until(
        lambda: all(len(had) >= ends[room] for each in crowd.chatters for room, had in each.had.items()),
        "everybody has everything",
    )


def furthest(crowd: Crowd, room: str) -> int:
    """The highest ``seq`` that was acknowledged."""
    return max(seq for each in crowd.chatters for to, seq in each.acked.values() if to == room)


async def in_the_end(shop: Shop, crowd: Crowd) -> None:
    """Everybody syncs; everybody has what SQL has, and that is what was acknowledged, once."""
    unrecovered = crowd.counts["not recovered"]
    for each in crowd.chatters:
        each.sync()
    await crowd.until(lambda: not any(each.syncing for each in crowd.chatters), "everybody has synced")
    assert crowd.counts["not recovered"] == unrecovered
    assert [each.strange for each in crowd.chatters if each.strange] == []
    assert [each.gaps for each in crowd.chatters if each.gaps] == []
    assert max(each.slowest_sync for each in crowd.chatters) <= BOUND_SECONDS
    acked = {(each.person.id, name): place for each in crowd.chatters for name, place in each.acked.items()}
    found: dict[Said, tuple[str, int]] = {}
    for room in {room for each in crowd.chatters for room in each.had}:
        stored = await asyncio.to_thread(in_sql, shop, room)
        found |= {said: (room, seq) for seq, said in enumerate(stored, start=1)}
        members = [each for each in crowd.chatters if room in each.had]
        assert len(members) == 2 * _PEOPLE // _ROOMS
        assert all(each.had[room] == stored for each in members), room
    # Nobody goes before all that they said is acknowledged, so nothing else can be there.
    assert found == acked


def in_sql(shop: Shop, room: str) -> list[Said]:
    """What is stored of the room, by sequence, which has no gap."""
    rows = shop.rows(f"SELECT seq, sender_id, client_id FROM messages WHERE conversation = '{room}' ORDER BY seq")
    assert [int(seq) for seq, _, _ in rows] == list(range(1, len(rows) + 1)), room
    assert len({(sender, name) for _, sender, name in rows}) == len(rows), room
    assert shop.rows(f"SELECT seq FROM conversations WHERE id = '{room}'") == [[str(len(rows))]]
    return [(sender, name) for _, sender, name in rows]


async def test_an_order_that_is_paid_at_one_node_is_told_once_at_the_buyers_sockets_of_both(shop: Shop):
    async with client_of(shop.nodes[0]) as client:
        sale = await put_on_sale(await log_in_boss(client))
        buyer, friend = await log_in(client), await log_in(client)
        async with AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(socket_of(node.server, buyer)) for node in shop.nodes]
            order = (await buyer.buy(sale, "k")).json()["orderId"]
            assert (await buyer.post("/v1/sandbox/payments", json={"orderId": order})).status == 200
            told = await asyncio.gather(*(heard_until(each, "order-paid") for each in sockets))
            # What is told after that is told after all of it.
            body = {"type": "text", "id": "last", "to": f"user:{buyer.id}", "content": "congratulations"}
            assert (await friend.post("/v1/messages", json=body)).status == 201
            for events, socket in zip(told, sockets, strict=True):
                assert [each for each in events if each == ("order-paid", order)] == [("order-paid", order)]
                assert (await socket.json())["id"] == "last"


async def heard_until(socket: RawSocket, event: str) -> list[tuple[str, str]]:
    """Events, and of which orders, up to the one that is waited for."""
    events: list[tuple[str, str]] = []
    while not events or events[-1][0] != event:
        frame = await socket.json()
        assert frame["type"] == "system", frame
        events.append((frame["event"], frame["data"]["orderId"]))
    return events
