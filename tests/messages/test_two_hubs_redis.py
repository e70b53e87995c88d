"""Two nodes over a real Redis that is killed while people talk: in the end everybody has heard everything, by one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from teahouse.messages.bus_redis import RedisBus
from teahouse.messages.hub import Hub
from teahouse.messages.presence_redis import RedisPresence
from tests.engines.redis_clients import connected
from tests.messages.listeners import Listener, eventually
from tests.messages.memory_store import MemoryStore, direct, person, room

PUBLISHERS = range(1, 21)
ROOMS = [room(number) for number in range(4)]


@asynccontextmanager
async def node(url: str, store: MemoryStore):
    async with connected(url) as redis:
        hub = Hub(store, RedisBus(redis), presence=RedisPresence(redis))
        await hub.start()
        try:
            yield hub
        finally:
            await hub.aclose()


async def entered(hub: Hub, number: int, name: str) -> Listener:
    listener = Listener(person(number), f"{name}.{number}")
    await hub.enter(listener)
    return listener


async def test_what_one_node_stores_reaches_the_people_on_the_other(redis_shared):
    store = MemoryStore()
    store.join(person(1), ROOMS[1])
    store.join(person(2), ROOMS[1])
    async with node(redis_shared.url, store) as one, node(redis_shared.url, store) as other:
        first, second = await entered(one, 1, "a"), await entered(other, 2, "b")
        for _ in range(100):
            one.publish(store.say(person(1), ROOMS[1]), first.id)
            other.publish(store.say(person(2), ROOMS[1]), second.id)
            one.publish(store.say(person(1), direct(1, 2)), first.id)
        await eventually(lambda: len(second.frames) == 200)
        await eventually(lambda: len(first.frames) == 100)
        assert first.seqs(ROOMS[1]) == list(range(2, 201, 2))
        assert second.seqs(ROOMS[1]) == list(range(1, 201, 2))
        assert second.seqs(direct(1, 2)) == list(range(1, 101))
        assert one.filled == other.filled == 0


async def test_who_comes_and_goes_on_one_node_is_told_on_the_other(redis_shared):
    store = MemoryStore()
    store.join(person(1), ROOMS[1])
    store.join(person(2), ROOMS[1])
    async with node(redis_shared.url, store) as one, node(redis_shared.url, store) as other:
        watcher = await entered(one, 1, "a")
        await one.watch(watcher, ROOMS[1])
        here, there = await entered(one, 2, "a"), await entered(other, 2, "b")
        await eventually(lambda: watcher.heard)
        one.leave(here)
        other.leave(there)
        await eventually(lambda: len(watcher.heard) == 2)
        assert [each["online"] for each in watcher.heard] == [True, False]


async def test_who_was_on_a_node_that_died_is_told_as_gone(redis_shared):
    store = MemoryStore()
    store.join(person(1), ROOMS[1])
    store.join(person(2), ROOMS[1])
    async with connected(redis_shared.url) as redis, node(redis_shared.url, store) as one:
        dying = RedisPresence(redis, stale_seconds=0.3)
        await dying.start()
        await dying.arrived(person(2))
        dying._renewing.cancel()
        watcher = await entered(one, 1, "a")
        await one.watch(watcher, ROOMS[1])
        assert await one.online(watcher, ROOMS[1], [person(2)]) == {person(2)}
        one._watching._presence._stale = 300
        while not watcher.frames:
            await one._watching._presence._renew()
            await asyncio.sleep(0.02)
        assert watcher.heard == [{"type": "presence", "to": ROOMS[1], "userId": person(2), "online": False}]
        assert redis_shared.cli("ZCARD", "{teahouse:presence}") == 1


async def test_thousands_who_come_back_at_once_leave_room_for_messages(redis_shared):
    store, people = MemoryStore(), range(1, 2_001)
    for number in people:
        for each in range(20):
            store.join(person(number), room(each))
    async with node(redis_shared.url, store) as one:
        listeners = await asyncio.gather(*(entered(one, number, "a") for number in people))
        one.publish(store.say(person(1), ROOMS[1]))
        await eventually(lambda: all(listener.seqs(ROOMS[1]) == [1] for listener in listeners))
        await eventually(lambda: not one._watching._telling.waiting)
        assert one._bus._publishing.lost == 0
        assert one.filled == 0


async def test_redis_killed_and_restarted_under_twenty_publishers_costs_no_receiver_a_message(redis_alone):
    store = MemoryStore()
    for number in PUBLISHERS:
        for each in ROOMS:
            store.join(person(number), each)
    async with node(redis_alone.url, store) as one, node(redis_alone.url, store) as other:
        hubs = (one, other)
        receivers = [
            await entered(hub, number, name) for hub, name in ((one, "a"), (other, "b")) for number in PUBLISHERS
        ]
        stop = asyncio.Event()

        async def talk(number: int) -> None:
            while not stop.is_set():
                hub = hubs[number % 2]
                hub.publish(store.say(person(number), ROOMS[number % 4]), "ab"[number % 2] + f".{number}")
                hub.publish(store.say(person(number), direct(number, number % 20 + 1)))
                await asyncio.sleep(0.01)

        talking = [asyncio.ensure_future(talk(number)) for number in PUBLISHERS]
        for _ in range(3):
            await eventually(lambda: one._bus.current and other._bus.current)
            said = len(store.messages[ROOMS[0]])
            await eventually(lambda said=said: len(store.messages[ROOMS[0]]) > said + 50)
            redis_alone.kill()
            said = len(store.messages[ROOMS[0]])
            await eventually(lambda said=said: len(store.messages[ROOMS[0]]) > said + 50)
            redis_alone.start()
        said = len(store.messages[ROOMS[0]])
        await eventually(lambda: len(store.messages[ROOMS[0]]) > said + 100)
        stop.set()
        await asyncio.gather(*talking)
        await eventually(lambda: all(map(has_all(store), receivers)), seconds=30)
        assert all(each.losses >= 3 for each in (one._bus, other._bus))
    for receiver in receivers:
        for conversation in store.people[receiver.user_id]:
            heard = receiver.seqs(conversation)
            assert heard == sorted(set(heard))
            assert heard == [
                message.seq
                for message in store.messages[conversation]
                if not conversation.startswith("room:") or not sent_from(receiver, message.sender_id)
            ]


def sent_from(receiver: Listener, sender_id: str) -> bool:
    """A publisher sends from one socket, which need not be sent it."""
    return sender_id == receiver.user_id and receiver.id.startswith("ab"[int(sender_id, 16) % 2])


def has_all(store: MemoryStore):
    def has(receiver: Listener) -> bool:
        missing = 0
        for conversation in store.people[receiver.user_id]:
            own = conversation.startswith("room:") and receiver.id[0] == "ab"[int(receiver.user_id, 16) % 2]
            wanted = [m for m in store.messages[conversation] if not (own and m.sender_id == receiver.user_id)]
            missing += len(wanted)
        return len(receiver.frames) >= missing

    return has
