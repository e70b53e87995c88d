"""Read positions of one moment are kept together: many readers of one message cost one transaction."""

from __future__ import annotations

import asyncio

import pytest

from teahouse.engines.sql import Database
from teahouse.messages.service import Messages
from teahouse.messages.store_sql import SqlMessageStore
from teahouse.problems import DatabaseUnavailable, NotFound, ShuttingDown
from tests.clocks import ManualClock
from tests.messages.people import ANN, BOB, CAT, NOW, QuietHub, opened, said, settle

READERS = [f"{number:032d}" for number in range(100)]


@pytest.fixture
async def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/tea.db")
    await database.connect()
    await database.create_all()
    await settle(database)
    await settle(database, READERS)
    yield database
    await database.aclose()


@pytest.fixture
async def service(database):
    service = Messages(SqlMessageStore(database), QuietHub(), clock=ManualClock())
    await service.start()
    yield service
    await service.aclose()


async def test_everybody_who_reads_at_once_is_remembered_in_a_few_transactions(service, database):
    store = SqlMessageStore(database)
    room = await opened(store, members=READERS)
    await store.append([said(ANN, str(number), room) for number in range(100)], NOW)
    told = await asyncio.gather(*(service.mark_read(each, room, place) for place, each in enumerate(READERS)))
    assert told == list(range(100))
    assert service.reads.sizes.calls == 100
    assert service.reads.sizes.flushes <= 2
    kept = await store.memberships(READERS)
    assert [kept[each][0].read_seq for each in READERS] == told


async def test_who_is_not_in_the_room_holds_up_no_other_reader(service, database):
    store = SqlMessageStore(database)
    room = await opened(store)
    await store.append([said(ANN, "1", room)], NOW)
    asked = (service.mark_read(each, room, 1) for each in (BOB, CAT, ANN))
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in told] == [int, NotFound, int]


async def test_each_reader_hears_of_a_failure_with_a_problem_of_their_own(service, database, monkeypatch):
    room = await opened(SqlMessageStore(database))

    async def full(*_, **__):
        raise DatabaseUnavailable("the disk is full")

    monkeypatch.setattr(database, "write", full)
    told = await asyncio.gather(*(service.mark_read(each, room, 1) for each in (ANN, BOB)), return_exceptions=True)
    assert [str(each) for each in told] == ["the disk is full"] * 2
    assert told[0] is not told[1]


async def test_a_service_that_stops_takes_no_more_positions(service, database):
    room = await opened(SqlMessageStore(database))
    await service.aclose()
    with pytest.raises(ShuttingDown):
        await service.mark_read(BOB, room, 1)


async def test_everybody_who_comes_back_at_once_is_let_in_by_a_few_queries(service, database):
    room = await opened(SqlMessageStore(database), members=READERS)
    asked = [service.history(each, room, None, 10) for each in (*READERS, CAT)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert told[:-1] == [[]] * 100
    assert isinstance(told[-1], NotFound)
    assert service.roles.sizes.flushes <= 2
