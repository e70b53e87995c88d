"""Who may ask whether somebody is there: whoever shares a conversation with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from teahouse.engines.sql import Database
from teahouse.messages.bus_memory import MemoryBus
from teahouse.messages.hub import Hub
from teahouse.messages.presence_memory import MemoryPresence
from teahouse.messages.service import Messages
from teahouse.messages.store_sql import SqlMessageStore
from teahouse.problems import DatabaseUnavailable, NotFound
from tests.clocks import ManualClock
from tests.messages.listeners import Listener
from tests.messages.people import ANN, BOB, CAT, DAN, NOBODY, opened, settle


class Counted(SqlMessageStore):
    """Counts how often it is asked who shares a conversation."""

    asked = 0
    away = False

    async def acquainted(self, pairs):
        self.asked += 1
        if self.away:
            raise DatabaseUnavailable
        return await super().acquainted(pairs)


class House(NamedTuple):
    service: Messages
    store: Counted
    ann: Listener


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Everybody is there."""
    database = Database(f"sqlite:///{tmp_path}/tea.db")
    await database.connect()
    await database.create_all()
    await settle(database)
    store, presence = Counted(database), MemoryPresence()
    hub = Hub(store, MemoryBus(), presence=presence)
    service = Messages(store, hub, clock=ManualClock())
    await service.start()
    for each in (ANN, BOB, CAT, DAN):
        await presence.arrived(each)
    ann = Listener(ANN, "1")
    await hub.enter(ann)
    yield House(service, store, ann)
    hub.leave(ann)
    await service.aclose()
    await database.aclose()


async def test_a_stranger_who_is_there_looks_like_one_who_is_not_and_like_nobody(house: House):
    asked = [house.service.presence(house.ann, f"user:{each}") for each in (BOB, NOBODY)]
    assert await asyncio.gather(*asked) == [[], []]


async def test_whoever_has_written_or_was_written_to_may_ask(house: House):
    await house.service.send(BOB, kind="text", id="1", to=f"user:{ANN}", content='"x"')
    await house.service.send(ANN, kind="text", id="1", to=f"user:{CAT}", content='"x"')
    assert await house.service.presence(house.ann, f"user:{BOB}") == [BOB]
    assert await house.service.presence(house.ann, f"user:{CAT}") == [CAT]
    assert await house.service.presence(house.ann, f"user:{DAN}") == []


async def test_who_is_in_a_common_room_may_ask_until_they_are_not(house: House):
    room = await opened(house.store, owner=CAT, members=[ANN])
    assert await house.service.presence(house.ann, f"user:{CAT}") == [CAT]
    await house.service.remove_member(CAT, room.removeprefix("room:"), ANN)
    assert await house.service.presence(house.ann, f"user:{CAT}") == []
    with pytest.raises(NotFound):
        await house.service.presence(house.ann, room)


async def test_what_many_ask_in_one_moment_is_few_statements(house: House):
    await opened(house.store, owner=BOB, members=[ANN])
    asked = [house.service.presence(house.ann, f"user:{each}") for each in (BOB, CAT, DAN) * 50]
    assert await asyncio.gather(*asked) == [[BOB], [], []] * 50
    assert house.store.asked <= 3


async def test_while_it_cannot_be_known_who_shares_a_conversation_nobody_is_told(house: House):
    house.store.away = True
    with pytest.raises(DatabaseUnavailable):
        await house.service.presence(house.ann, f"user:{BOB}")
