"""Two hubs, a bus that does what it likes, people who come, go, join, leave and sync: nobody misses anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teahouse.messages import filling
from teahouse.messages.hub import Hub
from teahouse.messages.model import people_of
from tests.messages.listeners import Listener, Wilful, eventually
from tests.messages.memory_store import MemoryStore, direct, person, room

PEOPLE = (1, 2, 3)
CONVERSATIONS = (room(1), room(2), direct(1, 2), direct(2, 3))
chosen = st.sampled_from
moves = st.lists(
    st.one_of(
        st.tuples(st.just("say"), chosen(CONVERSATIONS), chosen(PEOPLE)),
        st.tuples(st.just("carry"), st.integers(0, 1), st.integers(0, 9)),
        st.tuples(st.just("carry_again"), st.integers(0, 1), st.integers(0, 9)),
        st.tuples(st.just("drop"), st.integers(0, 1), st.integers(0, 9)),
        st.tuples(st.just("lose"), st.integers(0, 1)),
        st.tuples(st.just("enter"), chosen(PEOPLE), st.integers(0, 1)),
        st.tuples(st.just("leave_hub"), st.integers(0, 9)),
        st.tuples(st.just("join"), chosen(PEOPLE), chosen(CONVERSATIONS[:2])),
        st.tuples(st.just("leave"), chosen(PEOPLE), chosen(CONVERSATIONS[:2])),
        st.tuples(st.just("sync"), st.integers(0, 9), chosen(CONVERSATIONS)),
        st.tuples(st.just("go_on"), st.integers(1, 4)),
    ),
    min_size=10,
    max_size=80,
)


class Town:
    """Everything that the moves move. The second hub publishes for people on both."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.buses = [Wilful(), Wilful()]
        for bus in self.buses:
            bus.others = self.buses
        self.hubs = [Hub(self.store, bus, sockets_per_user=100) for bus in self.buses]
        self.sockets: list[tuple[Hub, Listener]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.said = 0
        # Who has left a room misses what was said meanwhile.
        self.interrupted: set[tuple[str, str]] = set()
        for number in PEOPLE:
            self.store.join(person(number), room(1))

    async def move(self, name: str, *details: Any) -> None:
        await getattr(self, name)(*details)

    async def say(self, conversation: str, sender: int) -> None:
        self.said += 1
        people = people_of(conversation)
        sender_id = person(sender) if people is None else people[sender % 2]
        self.hubs[self.said % 2].publish(self.store.say(sender_id, conversation))

    async def carry(self, number: int, at: int) -> None:
        if self.buses[number].under_way:
            self.buses[number].carry(at % len(self.buses[number].under_way))

    async def carry_again(self, number: int, at: int) -> None:
        if self.buses[number].under_way:
            self.buses[number].carry(at % len(self.buses[number].under_way), again=True)

    async def drop(self, number: int, at: int) -> None:
        if self.buses[number].under_way:
            del self.buses[number].under_way[at % len(self.buses[number].under_way)]

    async def lose(self, number: int) -> None:
        self.buses[number].lose()

    async def enter(self, number: int, hub: int) -> None:
        listener = Listener(person(number), f"{hub}.{len(self.sockets)}")
        self.sockets.append((self.hubs[hub], listener))
        self.tasks.append(asyncio.ensure_future(self.hubs[hub].enter(listener)))

    async def leave_hub(self, at: int) -> None:
        if self.sockets:
            hub, listener = self.sockets.pop(at % len(self.sockets))
            hub.leave(listener)

    async def join(self, number: int, conversation: str) -> None:
        self.store.join(person(number), conversation)
        self.hubs[0].joined(person(number), conversation)

    async def leave(self, number: int, conversation: str) -> None:
        self.interrupted.add((person(number), conversation))
        self.store.leave(person(number), conversation)
        self.hubs[1].left(person(number), conversation)

    async def sync(self, at: int, conversation: str) -> None:
        if self.sockets:
            hub, listener = self.sockets[at % len(self.sockets)]
            self.tasks.append(asyncio.ensure_future(self.synced(hub, listener, conversation)))

    async def synced(self, hub: Hub, listener: Listener, conversation: str) -> None:
        # As a client does it: it asks for what is above the last one that it has.
        seqs = listener.seqs(conversation)
        if seqs and conversation.startswith("user:") == (listener.user_id in conversation):
            await hub.catch_up(listener, conversation, seqs[-1], 1_000)

    async def go_on(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    # --- in the end ---

    async def settle(self) -> None:
        await asyncio.gather(*self.tasks)
        for bus in self.buses:
            bus.lose()
        await eventually(lambda: all(self.hears_all(listener) for _, listener in self.sockets), seconds=5)
        for hub in self.hubs:
            await hub.aclose()

    def hears_all(self, listener: Listener) -> bool:
        return all(self.hears_last(listener, conversation) for conversation in self.mine(listener))

    def mine(self, listener: Listener) -> list[str]:
        return list(self.store.people[listener.user_id])

    def hears_last(self, listener: Listener, conversation: str) -> bool:
        return listener.seqs(conversation)[-1:] == [len(self.store.messages[conversation])]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(filling, "_GRACE_SECONDS", 0)
    monkeypatch.setattr(filling, "_FIRST_PAUSE", 0.001)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=moves)
def test_whatever_the_bus_does_every_socket_hears_its_conversations_by_one(moves):
    async def play() -> Town:
        town = Town()
        for hub in town.hubs:
            await hub.start()
        for move in moves:
            await town.move(*move)
        # What is said now reaches everybody who is in, or they have a gap to fill.
        await asyncio.gather(*town.tasks)
        for conversation in CONVERSATIONS:
            await town.say(conversation, 2)
        await town.settle()
        return town

    town = asyncio.run(play())
    for _, listener in town.sockets:
        for conversation in CONVERSATIONS:
            seqs = listener.seqs(conversation)
            assert seqs == sorted(set(seqs)), (conversation, seqs)
            if seqs and (listener.user_id, conversation) not in town.interrupted:
                assert seqs == list(range(seqs[0], seqs[-1] + 1)), (conversation, seqs)
        assert town.hears_all(listener)
