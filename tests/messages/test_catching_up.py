"""A sync sends what was missed, then live goes on: nothing missing, nothing twice."""

from __future__ import annotations

import asyncio

import pytest

from teahouse.messages import catching_up
from teahouse.messages.hub import Hub
from teahouse.problems import DatabaseUnavailable
from tests.messages.listeners import Listener, Wilful, a_moment, eventually
from tests.messages.memory_store import MemoryStore, direct, person, room

ROOM = room(1)


@pytest.fixture
def store():
    store = MemoryStore()
    for number in (1, 2):
        store.join(person(number), ROOM)
    return store


@pytest.fixture
def bus():
    return Wilful()


@pytest.fixture
async def hub(store, bus):
    hub = Hub(store, bus)
    await hub.start()
    yield hub
    await hub.aclose()


async def entered(hub: Hub, number: int) -> Listener:
    listener = Listener(person(number), f"{number}.one")
    await hub.enter(listener)
    return listener


def say(hub: Hub, store: MemoryStore, conversation: str = ROOM, origin: str = "") -> None:
    hub.publish(store.say(person(2), conversation), origin)


async def test_what_was_missed_comes_in_pages_and_in_order(hub: Hub, store):
    for _ in range(450):
        store.say(person(2), ROOM)
    listener = await entered(hub, 1)
    assert await hub.catch_up(listener, ROOM, 7, 1_000)
    assert listener.seqs(ROOM) == list(range(8, 451))
    assert store.statements["after"] == 3


async def test_live_messages_wait_for_the_socket_that_syncs_and_for_no_other(hub: Hub, store, bus):
    for _ in range(3):
        store.say(person(2), ROOM)
    listener, other = await entered(hub, 1), await entered(hub, 2)
    store.gate = asyncio.Event()
    sync = asyncio.ensure_future(hub.catch_up(listener, ROOM, 0, 1_000))
    await a_moment()
    say(hub, store, origin=listener.id)
    say(hub, store)
    say(hub, store, direct(1, 2))
    bus.carry_all()
    assert listener.seqs(ROOM) == []
    assert listener.seqs(direct(1, 2)) == [1]
    assert other.seqs(ROOM) == [4, 5]
    store.gate.set()
    assert await sync
    # The fourth was this socket's own, and comes after what it missed.
    assert listener.seqs(ROOM) == [1, 2, 3, 5]
    say(hub, store)
    bus.carry_all()
    assert listener.seqs(ROOM) == [1, 2, 3, 5, 6]


async def test_what_is_stored_and_still_under_way_is_not_sent_twice(hub: Hub, store, bus):
    listener = await entered(hub, 1)
    for _ in range(3):
        say(hub, store)
    assert await hub.catch_up(listener, ROOM, 0, 1_000)
    bus.carry_all()
    assert listener.seqs(ROOM) == [1, 2, 3]


async def test_too_much_is_refused_honestly_and_nothing_of_it_is_sent(hub: Hub, store, bus):
    for _ in range(11):
        store.say(person(2), ROOM)
    listener = await entered(hub, 1)
    assert not await hub.catch_up(listener, ROOM, 0, 10)
    assert listener.frames == []
    assert await hub.catch_up(listener, ROOM, 1, 10)
    say(hub, store)
    bus.carry_all()
    assert listener.seqs(ROOM) == list(range(2, 13))


@pytest.mark.parametrize("after", [3, 4, 10**15])
async def test_who_is_ahead_is_sent_nothing_and_breaks_nothing(hub: Hub, store, bus, after: int):
    for _ in range(3):
        store.say(person(2), ROOM)
    listener = await entered(hub, 1)
    # Three are stored: whoever has more of them has what this store does not know.
    assert await hub.catch_up(listener, ROOM, after, 10) == (after == 3)
    say(hub, store)
    bus.carry_all()
    assert listener.seqs(ROOM) == [4]


async def test_who_is_ahead_of_the_node_but_not_of_the_store_has_missed_nothing(hub: Hub, store, bus):
    listener = await entered(hub, 1)
    say(hub, store)
    assert await hub.catch_up(listener, ROOM, 1, 10)
    assert listener.seqs(ROOM) == []


async def test_two_syncs_of_one_conversation_come_one_after_the_other(hub: Hub, store):
    for _ in range(250):
        store.say(person(2), ROOM)
    listener = await entered(hub, 1)
    results = await asyncio.gather(*(hub.catch_up(listener, ROOM, after, 1_000) for after in (0, 100)))
    assert results == [True, True]
    assert listener.seqs(ROOM) == [*range(1, 251), *range(101, 251)]


async def test_one_that_is_given_up_while_another_runs_does_not_let_a_third_in(hub: Hub, store):
    store.say(person(2), ROOM)
    listener = await entered(hub, 1)
    store.gate = asyncio.Event()
    first, second, third = (asyncio.ensure_future(hub.catch_up(listener, ROOM, 0, 10)) for _ in range(3))
    await a_moment()
    second.cancel()
    await a_moment()
    assert len(hub._catching_up.holds[ROOM]) == 1
    store.gate.set()
    assert await first
    assert await third
    assert listener.seqs(ROOM) == [1, 1]
    assert not hub._catching_up.holds


async def test_what_was_held_back_comes_when_the_store_fails_in_the_middle(hub: Hub, store, bus):
    store.say(person(2), ROOM)
    listener = await entered(hub, 1)
    store.gate = asyncio.Event()
    sync = asyncio.ensure_future(hub.catch_up(listener, ROOM, 0, 10))
    await a_moment()
    say(hub, store)
    bus.carry_all()
    store.away = True
    store.gate.set()
    with pytest.raises(DatabaseUnavailable):
        await sync
    assert listener.seqs(ROOM) == [2]


async def test_more_than_can_be_held_back_is_read_from_the_store(hub: Hub, store, bus, monkeypatch):
    monkeypatch.setattr(catching_up, "MOST_HELD", 3)
    store.say(person(2), ROOM)
    listener = await entered(hub, 1)
    store.gate = asyncio.Event()
    sync = asyncio.ensure_future(hub.catch_up(listener, ROOM, 0, 10))
    await a_moment()
    for _ in range(8):
        say(hub, store)
    bus.carry_all()
    store.gate.set()
    assert await sync
    assert listener.seqs(ROOM) == list(range(1, 10))


async def test_a_room_that_one_is_not_in_is_not_synced(hub: Hub, store):
    store.say(person(2), room(2))
    listener = await entered(hub, 1)
    assert not await hub.catch_up(listener, room(2), 0, 10)
    assert listener.frames == []


async def test_a_room_joined_a_moment_ago_is_followed_from_the_sync_on(hub: Hub, store, bus):
    listener = await entered(hub, 1)
    store.say(person(2), room(2))
    store.join(person(1), room(2))
    # Before the telling of it has come.
    assert await hub.catch_up(listener, room(2), 0, 10)
    say(hub, store, room(2))
    bus.carry_all()
    assert listener.seqs(room(2)) == [1, 2]


async def test_a_direct_conversation_in_which_nothing_was_said_can_be_synced(hub: Hub, store, bus):
    listener = await entered(hub, 1)
    store.gate = asyncio.Event()
    sync = asyncio.ensure_future(hub.catch_up(listener, direct(1, 2), 0, 10))
    await a_moment()
    say(hub, store, direct(1, 2))
    bus.carry_all()
    store.gate.set()
    assert await sync
    say(hub, store, direct(1, 2))
    bus.carry_all()
    assert listener.seqs(direct(1, 2)) == [1, 2]


async def test_who_leaves_in_the_middle_is_sent_nothing_more(hub: Hub, store):
    for _ in range(500):
        store.say(person(2), ROOM)
    listener = await entered(hub, 1)
    sync = asyncio.ensure_future(hub.catch_up(listener, ROOM, 0, 1_000))
    while not listener.frames:
        await asyncio.sleep(0)
    hub.leave(listener)
    assert not await sync
    assert len(listener.frames) < 500


async def test_a_store_with_a_hole_is_told_as_not_recovered(hub: Hub, store):
    for _ in range(5):
        store.say(person(2), ROOM)
    listener = await entered(hub, 1)
    del store.messages[ROOM][2]
    assert not await hub.catch_up(listener, ROOM, 0, 10)
    assert listener.seqs(ROOM) == [1, 2]


async def test_many_who_missed_the_same_share_the_reading_of_it(hub: Hub, store):
    for number in range(10, 110):
        store.join(person(number), ROOM)
    for _ in range(150):
        store.say(person(2), ROOM)
    listeners = [await entered(hub, number) for number in range(10, 110)]
    store.statements.clear()
    assert all(await asyncio.gather(*(hub.catch_up(each, ROOM, 100, 1_000) for each in listeners)))
    assert store.statements == {"after": 1}
    assert all(each.seqs(ROOM) == list(range(101, 151)) for each in listeners)
    assert listeners[0].frames[0] is listeners[1].frames[0]


async def test_who_missed_nothing_costs_no_statement(hub: Hub, store):
    store.say(person(2), ROOM)
    listener = await entered(hub, 1)
    store.statements.clear()
    assert await hub.catch_up(listener, ROOM, 1, 1_000)
    assert not store.statements


async def test_while_the_bus_is_away_a_sync_finds_what_the_store_has(hub: Hub, store, bus):
    listener, other = await entered(hub, 1), await entered(hub, 2)
    bus.current = False
    for _ in range(3):
        store.say(person(2), ROOM)
    assert await hub.catch_up(listener, ROOM, 0, 1_000)
    await eventually(lambda: listener.seqs(ROOM) == other.seqs(ROOM) == [1, 2, 3])


async def test_a_sync_goes_no_faster_than_its_socket(hub: Hub, store):
    class Slow(Listener):
        __slots__ = ("most", "unread")

        def send(self, frame: bytes) -> None:
            super().send(frame)
            self.unread += len(frame)
            self.most = max(self.most, self.unread)

        async def drained(self) -> None:
            await asyncio.sleep(0)
            self.unread = 0

    slow = Slow(person(1), "1.one")
    slow.most = slow.unread = 0
    for _ in range(300):
        store.say(person(2), ROOM, f'"{"x" * 20_000}"')
    await hub.enter(slow)
    assert await hub.catch_up(slow, ROOM, 0, 1_000)
    assert slow.seqs(ROOM) == list(range(1, 301))
    assert slow.most < 100_000


async def test_what_was_said_between_joining_and_hearing_of_it_is_brought(hub: Hub, store, bus):
    for _ in range(5):
        store.say(person(2), room(2))
    first, listener = await entered(hub, 2), await entered(hub, 1)
    store.join(person(1), room(2))
    say(hub, store, room(2))
    hub.joined(person(1), room(2))
    say(hub, store, room(2))
    # The telling comes last.
    bus.carry_all()
    await eventually(lambda: listener.seqs(room(2)) == [6, 7])
    say(hub, store, room(2))
    bus.carry_all()
    assert listener.seqs(room(2)) == [6, 7, 8]
    assert first.seqs(room(2)) == []


async def test_what_is_brought_waits_for_a_store_that_is_away(hub: Hub, store, bus):
    store.join(person(2), room(2))
    await entered(hub, 2)
    listener = await entered(hub, 1)
    store.join(person(1), room(2))
    say(hub, store, room(2))
    bus.carry_all()
    hub.joined(person(1), room(2))
    bus.carry_all()
    while not hub._catching_up.holds:
        await asyncio.sleep(0)
    store.away = True
    await eventually(lambda: store.statements["after"] >= 2)
    say(hub, store, room(2))
    bus.carry_all()
    store.away = False
    await eventually(lambda: listener.seqs(room(2)) == [1, 2])
    assert not hub._catching_up.holds
