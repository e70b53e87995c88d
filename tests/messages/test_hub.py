"""One hub over a bus that a test carries text by text, and a store in memory."""

from __future__ import annotations

import asyncio

import pytest

from teahouse.messages.bus_memory import MemoryBus
from teahouse.messages.bus_texts import person_topic
from teahouse.messages.frames import encode_system
from teahouse.messages.hub import Hub
from teahouse.problems import DatabaseUnavailable
from tests.messages.listeners import Listener, Wilful, a_moment, eventually
from tests.messages.memory_store import MemoryStore, direct, person, room

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


@pytest.fixture
async def hub(store, bus):
    hub = Hub(store, bus, sockets_per_user=3)
    await hub.start()
    yield hub
    await hub.aclose()


async def entered(hub: Hub, number: int, name: str = "one") -> Listener:
    listener = Listener(person(number), f"{number}.{name}")
    await hub.enter(listener)
    return listener


def say(hub: Hub, store: MemoryStore, sender: int, conversation: str = ROOM, origin: str = "") -> None:
    hub.publish(store.say(person(sender), conversation), origin)


async def test_a_message_reaches_all_in_the_room_but_the_socket_that_sent_it(hub: Hub, store, bus):
    sender, other_device, member = await entered(hub, 1), await entered(hub, 1, "two"), await entered(hub, 2)
    stranger = await entered(hub, 4)
    say(hub, store, 1, origin=sender.id)
    bus.carry_all()
    assert sender.seqs(ROOM) == []
    assert other_device.seqs(ROOM) == member.seqs(ROOM) == [1]
    assert other_device.frames[0] is member.frames[0]
    assert stranger.frames == []
    assert hub.delivered == 2


async def test_a_direct_message_reaches_both_people_once_though_it_is_published_twice(hub: Hub, store, bus):
    one, other, third = await entered(hub, 1), await entered(hub, 2), await entered(hub, 3)
    say(hub, store, 1, direct(1, 2), origin="elsewhere.7")
    assert len(bus.under_way) == 2
    bus.carry_all()
    assert one.seqs(direct(1, 2)) == other.seqs(direct(1, 2)) == [1]
    assert other.heard[0]["to"] == f"user:{person(2)}"
    assert third.frames == []
    assert hub.doubles == 1


async def test_a_gap_is_read_from_the_store_and_what_came_early_follows(hub: Hub, store, bus):
    listener = await entered(hub, 1)
    for _ in range(4):
        say(hub, store, 2)
    del bus.under_way[1:3]
    bus.carry_all()
    assert listener.seqs(ROOM) == [1]
    await eventually(lambda: listener.seqs(ROOM) == [1, 2, 3, 4])
    assert hub.filled == 2


async def test_another_order_is_put_right_without_asking_the_store(hub: Hub, store, bus):
    listener = await entered(hub, 1)
    for _ in range(3):
        say(hub, store, 2)
    bus.carry(2)
    bus.carry(1)
    bus.carry(0)
    assert listener.seqs(ROOM) == [1, 2, 3]
    await eventually(lambda: all(channel.filling is None for channel in hub._following.channels.values()))
    assert store.statements["after"] == 0


async def test_while_the_store_is_away_nothing_is_delivered_out_of_order(hub: Hub, store, bus):
    listener = await entered(hub, 1)
    store.away = True
    for _ in range(3):
        say(hub, store, 2)
    bus.under_way.pop(0)
    bus.carry_all()
    await eventually(lambda: store.statements["after"] >= 3)
    assert listener.seqs(ROOM) == []
    store.away = False
    await eventually(lambda: listener.seqs(ROOM) == [1, 2, 3])


async def test_the_last_message_before_silence_is_found_when_the_bus_owns_up_to_a_loss(hub: Hub, store, bus):
    listener, other = await entered(hub, 1), await entered(hub, 3)
    say(hub, store, 2)
    say(hub, store, 2, direct(1, 2))
    bus.lose()
    await eventually(lambda: listener.seqs(ROOM) == [1] == other.seqs(ROOM))
    await eventually(lambda: listener.seqs(direct(1, 2)) == [1])


async def test_what_was_joined_and_left_while_the_bus_was_lost_holds_afterwards(hub: Hub, store, bus):
    listener = await entered(hub, 1)
    store.leave(person(1), ROOM)
    store.join(person(1), room(2))
    bus.lose()
    await eventually(lambda: room(2) in bus.topics)
    await eventually(lambda: hub._comparing is None)
    say(hub, store, 2)
    say(hub, store, 2, room(2))
    bus.carry_all()
    assert listener.seqs(ROOM) == []
    assert listener.seqs(room(2)) == [1]


# --- entering ---


async def test_what_is_stored_while_somebody_enters_is_neither_missed_nor_told_twice(hub: Hub, store, bus):
    say(hub, store, 2)
    store.gate = asyncio.Event()
    listener = Listener(person(1), "1.one")
    entering = asyncio.ensure_future(hub.enter(listener))
    await a_moment()
    # Stored before the memberships and the base are read, and told before and after.
    say(hub, store, 2)
    say(hub, store, 3, direct(1, 3))
    bus.carry_all()
    store.gate.set()
    await entering
    say(hub, store, 2)
    say(hub, store, 3, direct(1, 3))
    bus.carry_all()
    assert listener.seqs(ROOM) == [3]
    assert listener.seqs(direct(1, 3)) == [2]


async def test_the_base_of_a_room_is_read_when_its_topic_is_subscribed_already(hub: Hub, store, bus, monkeypatch):
    read = store.last_seqs
    subscribed: list[bool] = []

    async def last_seqs(conversations):
        subscribed.append(set(conversations) <= bus.topics)
        return await read(conversations)

    monkeypatch.setattr(store, "last_seqs", last_seqs)
    await entered(hub, 1)
    assert subscribed == [True]


async def test_ten_thousand_who_come_back_at_once_share_statements_and_subscriptions(hub: Hub, store, bus):
    people = range(10, 10_010)
    for number in people:
        store.join(person(number), room(number // 10))
    listeners = [Listener(person(number), f"{number}.one") for number in people]
    await asyncio.gather(*map(hub.enter, listeners))
    assert sum(store.statements.values()) <= 102
    assert bus.subscriptions <= 102
    assert len(bus.topics) == 11_000
    for number in range(1, 1_001):
        say(hub, store, number * 10, room(number))
    bus.carry_all()
    assert all(listener.seqs(room(number // 10)) == [1] for number, listener in zip(people, listeners, strict=True))


async def test_who_cannot_be_let_in_is_told_and_leaves_nothing_behind(hub: Hub, store, bus):
    store.away = True
    with pytest.raises(DatabaseUnavailable):
        await entered(hub, 1)
    assert not hub.receivers
    assert not bus.topics
    assert not hub.channels
    store.away = False
    listener = await entered(hub, 1)
    say(hub, store, 2)
    bus.carry_all()
    assert listener.seqs(ROOM) == [1]


async def test_entering_that_is_given_up_leaves_nothing_behind(hub: Hub, store, bus):
    store.gate = asyncio.Event()
    entering = asyncio.ensure_future(hub.enter(Listener(person(1), "1.one")))
    await a_moment()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    store.gate.set()
    await eventually(lambda: not bus.topics)
    await a_moment()
    assert not hub.receivers
    assert not hub.channels
    assert not bus.topics


async def test_who_leaves_is_not_sent_anything_and_nothing_is_followed_for_nobody(hub: Hub, store, bus):
    one, two = await entered(hub, 1), await entered(hub, 2)
    say(hub, store, 1, direct(1, 2))
    bus.carry_all()
    hub.leave(one)
    hub.leave(one)
    say(hub, store, 2)
    bus.carry_all()
    assert one.seqs(ROOM) == []
    assert two.seqs(ROOM) == [1]
    assert bus.topics == {ROOM, person_topic(person(2))}
    hub.leave(two)
    assert not bus.topics
    assert not hub.channels


async def test_the_oldest_of_too_many_sockets_gives_way(hub: Hub, store, bus):
    sockets = [await entered(hub, 1, str(number)) for number in range(4)]
    assert [socket.closed for socket in sockets] == [[4409], [], [], []]
    say(hub, store, 2)
    bus.carry_all()
    assert [socket.seqs(ROOM) for socket in sockets] == [[], [1], [1], [1]]


# --- joining and leaving ---


async def test_who_joins_hears_the_room_and_who_leaves_hears_no_more(hub: Hub, store, bus):
    listener = await entered(hub, 4)
    store.join(person(4), ROOM)
    hub.joined(person(4), ROOM)
    bus.carry_all()
    await eventually(lambda: ROOM in bus.topics and hub._following.people[person(4)].loading is None)
    say(hub, store, 1)
    bus.carry_all()
    assert listener.seqs(ROOM) == [1]
    store.leave(person(4), ROOM)
    hub.left(person(4), ROOM)
    say(hub, store, 1)
    bus.carry_all()
    assert listener.seqs(ROOM) == [1]
    await eventually(lambda: ROOM not in bus.topics)


@pytest.mark.parametrize("joins_last", [True, False])
async def test_of_two_tellings_in_the_wrong_order_the_store_says_which_one_holds(
    hub: Hub, store, bus, joins_last: bool
):
    listener = await entered(hub, 4)
    (store.join if joins_last else store.leave)(person(4), ROOM)
    told = [hub.joined, hub.left] if joins_last else [hub.left, hub.joined]
    for tell in told:
        tell(person(4), ROOM)
    bus.carry_all()
    await eventually(lambda: hub._following.people[person(4)].loading is None)
    say(hub, store, 1)
    bus.carry_all()
    assert listener.seqs(ROOM) == ([1] if joins_last else [])


async def test_what_was_said_since_somebody_joined_is_brought_but_to_the_socket_that_said_it(hub: Hub, store, bus):
    sender, other_device = await entered(hub, 4), await entered(hub, 4, "two")
    store.join(person(4), ROOM)
    hub.joined(person(4), ROOM)
    # Both are stored and published before it is known here that they are in the room.
    say(hub, store, 2)
    say(hub, store, 4, origin=sender.id)
    bus.carry_all()
    await eventually(lambda: other_device.seqs(ROOM) == [1, 2])
    assert sender.seqs(ROOM) == [1]
    say(hub, store, 2)
    bus.carry_all()
    assert sender.seqs(ROOM) == [1, 3]


async def test_who_leaves_while_their_memberships_are_read_does_not_hear_the_room(hub: Hub, store, bus):
    listener, gate = await entered(hub, 1), asyncio.Event()
    hub.joined(person(1), ROOM)
    bus.carry_all()
    await a_moment()
    old = await store.first_memberships([person(1)], 10)
    store.leave(person(1), ROOM)
    person_here = hub._following.people[person(1)]
    person_here.loading = asyncio.ensure_future(gate.wait())
    hub.left(person(1), ROOM)
    bus.carry_all()
    # The reading that began before ends now, and knows nothing of it.
    assert hub._following._apply(person_here, old[person(1)]) == []
    say(hub, store, 2)
    bus.carry_all()
    assert listener.seqs(ROOM) == []
    gate.set()
    await person_here.loading
    person_here.loading = None


async def test_a_frame_for_one_person_reaches_all_their_sockets_and_nobody_elses(hub: Hub, store, bus):
    first, second, other = await entered(hub, 1), await entered(hub, 1, "two"), await entered(hub, 2)
    hub.tell(person(1), encode_system("order-paid", {"orderId": "7"}))
    bus.carry_all()
    assert first.heard == second.heard == [{"type": "system", "event": "order-paid", "data": {"orderId": "7"}}]
    assert other.frames == []


# --- what should not happen ---


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe", b"\x95\xa1m\xa0\xa3???\x00\xc4\x00", b"\x92\xa1z\x01", b"\x92\xa1j\x01"]
)
async def test_a_text_that_cannot_be_read_keeps_no_other_from_coming(hub: Hub, store, bus, text: bytes):
    listener = await entered(hub, 1)
    bus._receive(ROOM, text)
    say(hub, store, 2)
    bus.carry_all()
    assert listener.seqs(ROOM) == [1]
    assert hub.stray == 1


async def test_a_sequence_that_nobody_stored_is_given_up_and_the_room_goes_on(
    hub: Hub, store, bus, monkeypatch, caplog
):
    monkeypatch.setattr("teahouse.messages.filling._EMPTY_READS", 2)
    listener = await entered(hub, 1)
    message = store.say(person(2), ROOM)
    hub.publish(message)
    hub.publish(type(message)(ROOM, 10**12, person(2), "x", "text", '""', 1))
    bus.carry_all()
    channel = hub._following.channels[ROOM]
    await eventually(lambda: channel.filling is None)
    assert "does not have" in caplog.text
    say(hub, store, 2)
    bus.carry_all()
    assert listener.seqs(ROOM) == [1, 2]


async def test_a_socket_that_closes_itself_while_it_is_sent_to_harms_nobody(hub: Hub, store, bus):
    class Closing(Listener):
        __slots__ = ()

        def send(self, frame: bytes) -> None:
            hub.leave(self)

    closing = Closing(person(1), "1.one")
    await hub.enter(closing)
    others = [await entered(hub, 2), await entered(hub, 3)]
    for _ in range(3):
        say(hub, store, 2)
    bus.carry_all()
    assert [other.seqs(ROOM) for other in others] == [[1, 2, 3], [1, 2, 3]]


async def test_the_bus_of_one_process_brings_everything_of_a_moment_together(store):
    bus = MemoryBus()
    hub = Hub(store, bus)
    await hub.start()
    listener = await entered(hub, 1)
    for _ in range(3):
        say(hub, store, 2)
    assert listener.frames == []
    await asyncio.sleep(0)
    assert listener.seqs(ROOM) == [1, 2, 3]
    await hub.aclose()
