"""Who watches a conversation hears who of it comes and goes."""

from __future__ import annotations

import pytest

from teahouse.messages.hub import Hub
from teahouse.messages.presence_memory import MemoryPresence
from teahouse.messages.watching import MOST_TOLD
from teahouse.problems import RedisUnavailable
from tests.messages.listeners import Listener, Wilful, eventually
from tests.messages.memory_store import MemoryStore, direct, person, room

ROOM = room(1)


@pytest.fixture
def store():
    store = MemoryStore()
    for number in (1, 2):
        store.join(person(number), ROOM)
    store.say(person(1), direct(1, 2))
    return store


@pytest.fixture
def bus():
    return Wilful()


@pytest.fixture
def presence():
    return MemoryPresence()


@pytest.fixture
async def hub(store, bus, presence):
    hub = Hub(store, bus, presence=presence)
    await hub.start()
    yield hub
    await hub.aclose()


async def entered(hub: Hub, number: int, name: str = "one") -> Listener:
    listener = Listener(person(number), f"{number}.{name}")
    await hub.enter(listener)
    return listener


def told(to: str, number: int, *, online: bool) -> dict:
    return {"type": "presence", "to": to, "userId": person(number), "online": online}


async def test_the_first_socket_and_the_last_are_told_to_those_who_watch(hub: Hub, bus, presence):
    watcher, unconcerned = await entered(hub, 1), await entered(hub, 1, "two")
    await hub.watch(watcher, ROOM)
    await hub.watch(watcher, direct(1, 2))
    first, second = await entered(hub, 2), await entered(hub, 2, "two")
    await eventually(lambda: len(bus.under_way) == 2)
    bus.carry_all()
    await eventually(lambda: len(watcher.heard) == 2)
    assert watcher.heard == [told(ROOM, 2, online=True), told(f"user:{person(2)}", 2, online=True)]
    assert await presence.online([person(1), person(2)]) == {person(1), person(2)}
    hub.leave(first)
    hub.leave(second)
    await eventually(lambda: len(bus.under_way) == 2)
    bus.carry_all()
    await eventually(lambda: len(watcher.heard) == 4)
    assert watcher.heard[2:] == [told(ROOM, 2, online=False), told(f"user:{person(2)}", 2, online=False)]
    assert unconcerned.frames == []
    assert await presence.online([person(2)]) == set()


async def test_who_leaves_watches_no_more(hub: Hub, bus):
    watcher = await entered(hub, 1)
    await hub.watch(watcher, ROOM)
    await hub.watch(watcher, ROOM)
    assert f"presence:{ROOM}" in bus.topics
    hub.leave(watcher)
    assert not bus.topics


async def test_who_has_left_already_does_not_begin_to_watch(hub: Hub, bus):
    watcher = await entered(hub, 1)
    hub.leave(watcher)
    await hub.watch(watcher, ROOM)
    assert not bus.topics


async def test_who_is_not_in_the_room_any_more_does_not_hear_who_comes(hub: Hub, store, bus):
    watcher = await entered(hub, 1)
    await hub.watch(watcher, ROOM)
    store.leave(person(1), ROOM)
    hub.left(person(1), ROOM)
    await entered(hub, 2)
    await eventually(lambda: len(bus.under_way) >= 2)
    bus.carry_all()
    await eventually(lambda: hub._watching._asking is None)
    assert watcher.frames == []


async def test_coming_is_told_in_a_hundred_conversations_at_most(hub: Hub, store, bus):
    watcher = await entered(hub, 1)
    rooms = [room(number) for number in range(10, 10 + MOST_TOLD + 5)]
    for each in rooms:
        store.join(person(3), each)
        await hub.watch(watcher, each)
    await entered(hub, 3)
    # Nobody is told more often, and nobody watches more.
    await eventually(lambda: len(bus.under_way) == MOST_TOLD)
    assert sum(topic.startswith("presence:room:") for topic in bus.topics) == MOST_TOLD


async def test_who_comes_while_presence_is_away_comes_in_all_the_same(hub: Hub, bus, presence, monkeypatch, caplog):
    async def away(_user_id: str) -> bool:
        raise RedisUnavailable

    monkeypatch.setattr(presence, "arrived", away)
    listener = await entered(hub, 1)
    await eventually(lambda: "who is there" in caplog.text)
    assert listener.closed == []
    assert bus.under_way == []


async def test_a_hub_without_presence_tells_nothing(store, bus):
    hub = Hub(store, bus)
    await hub.start()
    watcher = await entered(hub, 1)
    await hub.watch(watcher, ROOM)
    hub.leave(await entered(hub, 2))
    assert bus.under_way == []
    await hub.aclose()


async def test_what_comes_in_another_order_than_it_happened_leaves_nobody_wrong(hub: Hub, bus, presence):
    watcher = await entered(hub, 1)
    await hub.watch(watcher, ROOM)
    await entered(hub, 2)
    await eventually(lambda: bus.under_way)
    (arrived,) = bus.under_way
    bus.carry_all()
    await eventually(lambda: watcher.heard == [told(ROOM, 2, online=True)])
    # They have moved to another node, and what that one said came first.
    for _ in range(3):
        bus.under_way.append(arrived)
    bus.carry_all()
    await eventually(lambda: hub._watching._asking is None)
    assert watcher.heard == [told(ROOM, 2, online=True)]
    await presence.departed(person(2))
    bus.under_way.append(arrived)
    bus.carry_all()
    await eventually(lambda: len(watcher.heard) == 2)
    assert watcher.heard[1] == told(ROOM, 2, online=False)


async def test_after_a_loss_what_differs_is_told_and_nothing_else(hub: Hub, bus, presence):
    hub._watching.settle_seconds = 0.05
    for number in (2, 3):
        await presence.arrived(person(number))
    hub._store.join(person(3), ROOM)
    hub._store.join(person(4), ROOM)
    watcher = await entered(hub, 1)
    await hub.watch(watcher, ROOM)
    others = [person(2), person(3), person(4)]
    assert await hub.online(watcher, ROOM, others) == {person(2), person(3)}
    await presence.departed(person(3))
    await presence.arrived(person(4))
    bus.lose()
    # Until everybody had the time to be there nobody is taken for gone, by whoever asks either.
    assert await hub.online(watcher, ROOM, others) == {person(2), person(3), person(4)}
    await eventually(lambda: hub._watching._comparing is None)
    assert watcher.heard == [told(ROOM, 3, online=False)]


async def test_who_asked_about_a_stranger_hears_nothing_of_them_after_a_loss(hub: Hub, bus, presence):
    hub._watching.settle_seconds = 0.0
    await presence.arrived(person(9))
    watcher = await entered(hub, 1)
    await hub.watch(watcher, direct(1, 9))
    bus.lose()
    await eventually(lambda: hub._watching._comparing is None)
    assert watcher.frames == []
