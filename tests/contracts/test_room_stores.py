"""Rooms, who is in them, and up to where they have read."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select, update

from teahouse.engines.sql import Database
from teahouse.messages.model import Membership, ReadMark, Room, conversation_of
from teahouse.messages.store_sql import SqlMessageStore
from teahouse.messages.tables_sql import conversations
from teahouse.problems import NotFound, Problem, RoomFull, TooManyRooms
from tests.messages.people import ANN, BOB, CAT, DAN, NOBODY, NOW, opened, room_id, said, settle

ROOM = f"room:{room_id(1)}"


@pytest.fixture
async def store(database: Database) -> SqlMessageStore:
    await settle(database)
    return SqlMessageStore(database)


async def test_a_room_is_owned_by_its_creator_and_the_others_are_members(store):
    room = Room(room_id(1), "茶 🍵 room", ANN, NOW)
    await store.add_room(room, [BOB, ANN, BOB])
    assert await store.room(room_id(1)) == room
    assert await store.members(ROOM) == {ANN: "owner", BOB: "member"}
    assert [await store.role(each, ROOM) for each in (ANN, BOB, CAT)] == ["owner", "member", None]
    assert await store.room(room_id(2)) is None
    assert await store.members(f"room:{room_id(2)}") == {}


async def test_what_many_people_are_in_many_rooms_is_read_at_once(store):
    rooms = [await opened(store, number) for number in (1, 2)]
    places = [(user, room) for user in (ANN, BOB, CAT, ANN) for room in (*rooms, "room:strange")]
    owners = {(ANN, room): "owner" for room in rooms}
    assert await store.roles(places) == owners | {(BOB, room): "member" for room in rooms}
    assert await store.roles([]) == {}


async def test_who_shares_a_conversation_is_read_for_many_pairs_at_once(store):
    await opened(store, 1, members=[BOB])
    await opened(store, 2, owner=CAT, members=[])
    await store.append([said(CAT, "1", DAN)], NOW)
    pairs = [(one, other) for one in (ANN, BOB, CAT, DAN) for other in (ANN, BOB, CAT, DAN, NOBODY) if one != other]
    known = {(ANN, BOB), (BOB, ANN), (CAT, DAN), (DAN, CAT)}
    assert await store.acquainted(pairs + pairs) == known
    assert await store.acquainted([]) == set()
    assert await store.remove_member(room_id(1), BOB)
    assert await store.acquainted(pairs) == {(CAT, DAN), (DAN, CAT)}


async def test_a_room_with_somebody_who_does_not_exist_is_not_made(store):
    with pytest.raises(NotFound, match=NOBODY):
        await opened(store, members=[BOB, NOBODY])
    with pytest.raises(NotFound, match=NOBODY):
        await opened(store, owner=NOBODY)
    assert await store.room(room_id(1)) is None
    assert await store.memberships([ANN, BOB]) == {ANN: [], BOB: []}


async def test_rooms_are_listed_newest_first_in_pages_and_without_direct_conversations(store):
    for number in (3, 1, 2, 0xFFFF):
        await opened(store, number)
    await opened(store, 4, members=[CAT])
    await store.append([said(ANN, "1", BOB), said(BOB, "1", f"room:{room_id(2)}")], NOW)
    await store.append([said(ANN, "2", f"room:{room_id(2)}")], NOW)
    first = await store.rooms(BOB, None, 2)
    assert [room.id for room, _ in first] == [room_id(0xFFFF), room_id(3)]
    second = await store.rooms(BOB, first[-1][0].id, 2)
    assert second == [
        (Room(room_id(2), "房间 2", ANN, NOW), Membership(f"room:{room_id(2)}", "member", 2, 1, 0)),
        (Room(room_id(1), "房间 1", ANN, NOW), Membership(ROOM, "member", 0, 0, 0)),
    ]
    assert second[0][1].unread == 1
    assert await store.rooms(BOB, room_id(1), 2) == []
    assert await store.rooms(DAN, None, 2) == []


async def test_direct_conversations_come_by_name_in_pages_and_without_rooms(store):
    await opened(store)
    await store.append([said(BOB, str(number), each) for number, each in enumerate((ANN, CAT, DAN))], NOW)
    names = sorted(conversation_of(BOB, f"user:{each}") for each in (ANN, CAT, DAN))
    first = await store.directs(BOB, "", 2)
    assert [(each.conversation, each.unread) for each in first] == [(name, 0) for name in names[:2]]
    assert [each.conversation for each in await store.directs(BOB, names[1], 2)] == names[2:]
    assert [each.unread for each in await store.directs(ANN, "", 9)] == [1]


async def test_who_comes_later_has_read_what_was_said_before(store):
    room = await opened(store)
    await store.append([said(ANN, str(number), room) for number in range(3)], NOW)
    assert await store.add_members(room_id(1), [CAT, BOB, CAT, DAN], NOW) == [CAT, DAN]
    assert await store.add_members(room_id(1), [CAT, BOB], NOW) == []
    assert await store.memberships([BOB, CAT]) == {
        BOB: [Membership(room, "member", 3, 0, 0)],
        CAT: [Membership(room, "member", 3, 3, 3)],
    }


async def test_nobody_is_added_where_one_of_them_or_the_room_does_not_exist(store):
    room = await opened(store)
    with pytest.raises(NotFound, match=NOBODY):
        await store.add_members(room_id(1), [CAT, NOBODY], NOW)
    with pytest.raises(NotFound, match="room"):
        await store.add_members(room_id(2), [CAT], NOW)
    assert set(await store.members(room)) == {ANN, BOB}


async def test_somebody_added_by_two_at_once_is_new_for_one_of_them(store):
    await opened(store)
    told = await asyncio.gather(*(store.add_members(room_id(1), [CAT, DAN], NOW) for _ in range(4)))
    assert sorted(map(len, told)) == [0, 0, 0, 2]


async def test_who_was_removed_says_nothing_afterwards(store):
    room = await opened(store)
    answers = []

    async def talk():
        for number in range(30):
            answers.extend(await store.append([said(BOB, str(number), room)], NOW))

    async with asyncio.TaskGroup() as group:
        talking = group.create_task(talk())
        while len(answers) < 5 and not talking.done():
            await asyncio.sleep(0.001)
        assert await store.remove_member(room_id(1), BOB)
        last = await store.last_seqs([room])
    assert await store.last_seqs([room]) == last
    assert [isinstance(each, NotFound) for each in answers].count(False) == last[room]
    assert not await store.remove_member(room_id(1), BOB)
    assert not await store.remove_member(room_id(2), ANN)
    assert await store.memberships([BOB]) == {BOB: []}


@pytest.mark.parametrize("change", ["add", "remove"])
async def test_nobody_comes_or_goes_while_something_is_being_said(store, database, change):
    room = await opened(store)
    wanted = [CAT] if change == "add" else True
    coming = store.add_members(room_id(1), [CAT], NOW) if change == "add" else store.remove_member(room_id(1), BOB)
    async with asyncio.TaskGroup() as group, database.transaction() as connection:
        await connection.execute(update(conversations).where(conversations.c.id == room).values(seq=7))
        waiting = group.create_task(coming)
        for _ in range(30):
            await connection.execute(select(conversations.c.seq))
            await asyncio.sleep(0.01)
        assert not waiting.done()
    assert waiting.result() == wanted
    assert [each.read_seq for each in (await store.memberships([CAT]))[CAT]] == ([7] if change == "add" else [])


async def test_a_read_position_never_goes_back_nor_beyond_the_last_message(store):
    room = await opened(store)
    await store.append([said(ANN, str(number), room) for number in range(3)], NOW)
    asked = (0, 2, 1, 2, 2**63 - 1, 3, 0)
    assert [await store.mark_read(BOB, room, seq) for seq in asked] == [0, 2, 2, 2, 3, 3, 3]
    assert await store.memberships([ANN, BOB]) == {
        ANN: [Membership(room, "owner", 3, 3, 0)],
        BOB: [Membership(room, "member", 3, 3, 0)],
    }


async def test_only_who_is_in_a_conversation_has_a_position_in_it(store):
    room = await opened(store)
    for place in (room, f"room:{room_id(2)}", conversation_of(ANN, f"user:{CAT}")):
        with pytest.raises(NotFound):
            await store.mark_read(CAT, place, 1)


async def test_many_positions_are_kept_together_and_each_gets_its_own_answer(store):
    rooms = [await opened(store, number) for number in (1, 2)]
    await store.append([said(ANN, f"{number}{room}", room) for room in rooms for number in range(4)], NOW)
    marks = [
        ReadMark(BOB, rooms[0], 2),
        ReadMark(CAT, rooms[0], 2),
        ReadMark(ANN, rooms[0], 9),
        ReadMark(BOB, rooms[1], 1),
        ReadMark(BOB, rooms[0], 3),
        ReadMark(BOB, rooms[0], 1),
    ]
    answers = await store.mark_all_read(marks)
    assert isinstance(answers[1], NotFound)
    assert [answer for answer in answers if isinstance(answer, int)] == [3, 4, 1, 3, 3]
    positions = {each.conversation: each.read_seq for each in (await store.memberships([BOB]))[BOB]}
    assert positions == {rooms[0]: 3, rooms[1]: 1}
    assert await store.mark_all_read([]) == []


async def test_positions_marked_by_many_at_once_end_at_the_highest(store):
    rooms = [await opened(store, number) for number in (1, 2)]
    await store.append([said(ANN, f"{number}{room}", room) for room in rooms for number in range(20)], NOW)

    async def mark(places):
        for seq in range(1, 21):
            (first, second) = await store.mark_all_read([ReadMark(BOB, place, seq) for place in places])
            assert min(first, second) >= seq

    await asyncio.gather(mark(rooms), mark(rooms[::-1]), mark(rooms))
    assert [each.read_seq for each in (await store.memberships([BOB]))[BOB]] == [20, 20]


async def test_the_latest_joined_conversation_comes_first(store: SqlMessageStore):
    old = await opened(store, 3)
    new = await opened(store, 2, owner=CAT, members=())
    assert await store.add_members(room_id(2), [BOB], NOW + 5) == [BOB]
    (direct,) = await store.append([said(ANN, "hello", BOB)], NOW + 9)
    assert [each.conversation for each in (await store.memberships([BOB]))[BOB]] == [direct.conversation, new, old]


def names(parts):
    return [each.conversation for each in parts.first]


async def test_where_not_all_can_be_followed_strangers_push_nothing_out_that_was_there(store: SqlMessageStore):
    old = await opened(store, 1)
    await store.append([said(DAN, "hello", BOB)], NOW + 1)
    for number in range(2, 40):
        await store.add_room(Room(room_id(number), "x", CAT, NOW + number), [BOB])
    direct = conversation_of(BOB, f"user:{DAN}")
    found = (await store.first_memberships([BOB, ANN, NOBODY], 5))[BOB]
    assert (found.count, len(found.first)) == (40, 5)
    assert {old, direct} < set(names(found))
    everything = await store.first_memberships([BOB, ANN, NOBODY], 40)
    assert len(everything[BOB].first) == 40
    assert [len(everything[each].first) for each in (ANN, NOBODY)] == [1, 0]


async def test_where_one_has_spoken_or_read_and_what_one_has_made_comes_first(store: SqlMessageStore):
    for number in range(1, 8):
        await opened(store, number, owner=CAT)
    spoken, read = f"room:{room_id(5)}", f"room:{room_id(6)}"
    own = await opened(store, 8, owner=BOB, members=())
    await store.append([said(BOB, "1", spoken), said(CAT, "1", read)], NOW)
    await store.mark_read(BOB, read, 1)
    found = (await store.first_memberships([BOB], 4))[BOB]
    assert set(names(found)[:3]) == {spoken, read, own}
    assert names(found)[3] == f"room:{room_id(1)}"


async def test_who_brings_somebody_into_very_many_rooms_leaves_place_for_others(store: SqlMessageStore):
    for number in range(1, 31):
        await store.add_room(Room(room_id(number), "x", CAT, NOW + number), [BOB])
    late = f"room:{room_id(99)}"
    await store.add_room(Room(room_id(99), "y", DAN, NOW + 99), [BOB])
    found = (await store.first_memberships([BOB], 20))[BOB]
    assert names(found)[10] == late
    assert names(found)[11:] == [f"room:{room_id(number)}" for number in range(11, 20)]


async def test_one_person_makes_so_many_rooms_and_no_more_even_at_once(store: SqlMessageStore):
    async def make(number: int) -> None:
        await store.add_room(Room(room_id(number), "x", ANN, NOW), [BOB], most=3)

    answers = await asyncio.gather(*(make(number) for number in range(1, 9)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in answers) == ["NoneType"] * 3 + ["TooManyRooms"] * 5
    with pytest.raises(TooManyRooms):
        await make(9)
    await store.add_room(Room(room_id(9), "x", CAT, NOW), [BOB], most=3)


async def test_a_room_takes_so_many_members_and_no_more_even_at_once(store: SqlMessageStore):
    await opened(store)

    async def add(user: str) -> list[str] | Problem:
        try:
            return await store.add_members(room_id(1), [user, BOB], NOW, most=3)
        except RoomFull as problem:
            return problem

    answers = await asyncio.gather(add(CAT), add(DAN))
    assert [type(each) for each in answers].count(RoomFull) == 1
    assert await store.add_members(room_id(1), [ANN, BOB], NOW, most=1) == []
    assert len(await store.members(ROOM)) == 3
