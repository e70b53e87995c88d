"""Somebody with more conversations than are followed: which they hear, and what they are told of that."""

from __future__ import annotations

import pytest

from teahouse.messages.bus_texts import person_topic
from teahouse.messages.hub import Hub
from teahouse.messages.model import Extent
from tests.messages.listeners import Listener, Wilful, a_moment, eventually
from tests.messages.memory_store import MemoryStore, direct, person, room
from tests.messages.test_hub import entered, say

ROOM = room(1)


@pytest.fixture
def store():
    store = MemoryStore()
    for number in (1, 2, 3):
        store.join(person(number), ROOM)
    return store


@pytest.fixture
def bus():
    return Wilful()


async def test_of_a_user_with_very_many_conversations_the_first_are_followed_and_those_they_sync(store, bus):
    hub = Hub(store, bus, followed=2)
    await hub.start()
    for number in (2, 3, 4):
        store.join(person(1), room(number))
    listener = await entered(hub, 1)
    assert bus.topics == {person_topic(person(1)), ROOM, room(2)}
    assert await hub.catch_up(listener, room(4), 0, 100)
    say(hub, store, 2, room(4))
    say(hub, store, 2, room(3))
    # An old conversation that is not followed: what came before is not sent.
    for _ in range(3):
        store.say(person(9), direct(1, 9))
    say(hub, store, 9, direct(1, 9))
    bus.carry_all()
    assert listener.seqs(room(4)) == [1]
    assert listener.seqs(room(3)) == []
    assert listener.seqs(direct(1, 9)) == [4]
    await hub.aclose()


async def test_who_enters_is_told_how_much_is_followed(store, bus):
    hub = Hub(store, bus, followed=2)
    await hub.start()
    assert await hub.enter(Listener(person(2), "2.one")) == Extent(1, 1)
    for number in (2, 3):
        store.join(person(1), room(number))
    assert await hub.enter(Listener(person(1), "1.one")) == Extent(2, 3)
    await hub.aclose()


async def test_what_is_followed_stays_so_when_others_come_and_they_are_told_that_it_is_not_all(store, bus):
    hub = Hub(store, bus, followed=2)
    await hub.start()
    store.join(person(1), room(2))
    listener = await entered(hub, 1)
    mine = dict(store.people[person(1)])
    # Whatever the store now names first.
    store.people[person(1)].clear()
    for number in range(10, 30):
        store.join(person(1), room(number))
    store.people[person(1)].update(mine)
    hub.joined(person(1), room(10))
    bus.carry_all()
    await eventually(lambda: listener.frames)
    told = {"following": 4, "conversations": 22}
    assert listener.heard == [{"type": "system", "event": "partly-following", "data": told}]
    say(hub, store, 2, ROOM)
    bus.carry_all()
    assert listener.seqs(ROOM) == [1]
    hub.joined(person(1), room(11))
    bus.carry_all()
    await a_moment()
    assert (len(listener.frames), hub.channels) == (2, 4)
    await hub.aclose()


async def test_very_many_direct_conversations_do_not_all_stay_open(store, bus):
    hub = Hub(store, bus, followed=2)
    await hub.start()
    listener = await entered(hub, 1)
    for number in range(100, 150):
        say(hub, store, number, direct(1, number))
        bus.carry_all()
        await a_moment()
    assert hub.channels <= 6
    assert sum(len(listener.seqs(direct(1, number))) for number in range(100, 150)) == 50
    await hub.aclose()
