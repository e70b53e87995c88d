"""What is said is kept: in sequence, once, whole, and whoever else writes at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from teahouse.engines.sql import Database
from teahouse.messages import rows_sql, store_sql
from teahouse.messages.model import Membership, Message, conversation_of
from teahouse.messages.store_sql import SqlMessageStore
from teahouse.problems import DatabaseUnavailable, IdempotencyMismatch, NotFound
from tests.messages.people import ANN, BOB, CAT, DAN, NOBODY, NOW, opened, room_id, said, settle

DIRECT = conversation_of(ANN, f"user:{BOB}")
LARGEST = 64 * 1024


@pytest.fixture
async def store(database: Database) -> SqlMessageStore:
    await settle(database)
    return SqlMessageStore(database)


@pytest.fixture
async def other_node(store: SqlMessageStore, database_url: str) -> AsyncIterator[SqlMessageStore]:
    database = Database(database_url)
    await database.connect()
    yield SqlMessageStore(database)
    await database.aclose()


def outcome(answers) -> list[object]:
    """Sequences, and the names of problems."""
    return [each.seq if isinstance(each, Message) else type(each).__name__ for each in answers]


async def test_each_conversation_counts_its_messages_from_one_across_batches(store):
    first, second = await opened(store, 1), await opened(store, 2)
    batch = [said(ANN, "1", first), said(ANN, "2", second), said(BOB, "1", first), said(ANN, "3", BOB)]
    assert outcome(await store.append(batch, NOW)) == [1, 1, 2, 1]
    batch = [said(BOB, "2", second), said(BOB, "3", ANN), said(BOB, "4", first)]
    assert outcome(await store.append(batch, NOW + 5)) == [2, 2, 3]
    assert await store.last_seqs([first, second, DIRECT]) == {first: 3, second: 2, DIRECT: 2}
    kept = await store.after(first, 0, 10)
    assert [(each.sender_id, each.id, each.timestamp) for each in kept] == [
        (ANN, "1", NOW),
        (BOB, "1", NOW),
        (BOB, "4", NOW + 5),
    ]


async def test_a_message_comes_back_as_it_was_written(store):
    room = await opened(store)
    contents = [
        '"x"',
        '{"a": [1, 2.50, null],  "b":"\\u0000 \\ud800 \\" \\\\ \\n %s :rows {new} $[0]"}',
        '"茶馆 🍵 \x7f \u2028 \' -- "',
        '"' + "🍵" * ((LARGEST - 2) // 4) + '"',
        '"' + "\\\\" * ((LARGEST - 2) // 2) + '"',
    ]
    drafts = [said(ANN, f"!{number}~%s:id", room, content) for number, content in enumerate(contents)]
    answers = await store.append(drafts, NOW)
    wanted = [
        Message(room, number, ANN, draft.id, "text", draft.content, NOW) for number, draft in enumerate(drafts, 1)
    ]
    assert answers == wanted
    assert await store.after(room, 0, 10) == wanted
    assert await store.append(drafts, NOW + 1) == wanted


async def test_more_than_a_server_takes_in_one_packet_is_stored_in_one_batch(store):
    room = await opened(store)
    drafts = [said(ANN, str(number), room, '"' + "\\\\" * (LARGEST // 2 - 1) + '"') for number in range(256)]
    assert outcome(await store.append(drafts, NOW)) == list(range(1, 257))


async def test_the_same_client_id_is_the_same_message_whatever_has_happened_since(store):
    room = await opened(store)
    (first,) = await store.append([said(BOB, "1", room)], NOW)
    await store.append([said(ANN, "1", room)], NOW + 1)
    await store.remove_member(room_id(1), BOB)
    assert await store.append([said(BOB, "1", room)], NOW + 9) == [first]
    assert outcome(await store.append([said(BOB, "2", room)], NOW + 9)) == ["NotFound"]
    assert await store.last_seqs([room]) == {room: 2}


async def test_the_same_client_id_twice_in_one_batch_is_stored_once(store):
    room = await opened(store)
    answers = await store.append([said(ANN, "1", room), said(BOB, "1", room), said(ANN, "1", room)], NOW)
    assert outcome(answers) == [1, 2, 1]
    assert len(await store.after(room, 0, 10)) == 2


@pytest.mark.parametrize("committed", [False, True])
async def test_a_batch_whose_answer_was_lost_is_stored_once_when_it_is_sent_again(store, monkeypatch, committed):
    room, write = await opened(store), Database.write

    async def cut_off(database, work, caller=None):
        if committed:
            await write(database, work, caller)
        raise DatabaseUnavailable("the connection was cut")

    batch = [said(ANN, "1", room), said(ANN, "2", BOB), said(BOB, "1", room)]
    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", cut_off)
        with pytest.raises(DatabaseUnavailable):
            await store.append(batch, NOW)
    assert await store.last_seqs([room, DIRECT]) == ({room: 2, DIRECT: 1} if committed else {room: 0, DIRECT: 0})
    answers = await store.append(batch, NOW + 5)
    assert outcome(answers) == [1, 1, 2]
    assert {each.timestamp for each in answers} == {NOW if committed else NOW + 5}
    assert await store.last_seqs([room, DIRECT]) == {room: 2, DIRECT: 1}


@pytest.mark.parametrize("together", [False, True])
async def test_a_client_id_that_was_used_for_another_message_is_refused(store, together):
    room, elsewhere = await opened(store, 1), await opened(store, 2)
    first = said(ANN, "1", room)
    others = [
        said(ANN, "1", room, '"bye"'),
        said(ANN, "1", room, kind="custom"),
        said(ANN, "1", elsewhere),
        said(ANN, "1", BOB),
    ]
    if together:
        answers = await store.append([first, *others, first], NOW)
    else:
        answers = [*await store.append([first], NOW), *await store.append([*others, first], NOW)]
    assert outcome(answers) == [1, *["IdempotencyMismatch"] * 4, 1]
    assert await store.last_seqs([room, elsewhere, DIRECT]) == {room: 1, elsewhere: 0, DIRECT: 0}


async def test_client_ids_that_differ_in_case_only_are_two(store):
    room = await opened(store)
    assert outcome(await store.append([said(ANN, each, room) for each in ("ab", "AB", "aB")], NOW)) == [1, 2, 3]
    assert outcome(await store.append([said(ANN, "AB", room)], NOW)) == [2]


async def test_what_is_refused_holds_up_nobody_and_leaves_no_gap(store):
    room = await opened(store)
    batch = [
        said(ANN, "1", room),
        said(CAT, "1", room),
        said(ANN, "2", f"room:{room_id(9)}"),
        said(ANN, "3", NOBODY),
        said(ANN, "1", room, '"other"'),
        said(BOB, "1", room),
    ]
    answers = await store.append(batch, NOW)
    assert outcome(answers) == [1, "NotFound", "NotFound", "NotFound", "IdempotencyMismatch", 2]
    assert len({id(each) for each in answers}) == len(answers)
    assert outcome(await store.append([said(ANN, "2", room), said(CAT, "1", BOB)], NOW)) == [3, 1]


async def test_a_statement_that_fails_is_told_as_the_engine_tells_it_and_stores_nothing(store, database):
    room = await opened(store)
    async with database.transaction() as connection:
        await connection.execute(text("ALTER TABLE memberships RENAME TO elsewhere"))
    try:
        with pytest.raises((DatabaseUnavailable, ProgrammingError)):
            await store.append([said(ANN, "1", room)], NOW)
    finally:
        async with database.transaction() as connection:
            await connection.execute(text("ALTER TABLE elsewhere RENAME TO memberships"))
    assert outcome(await store.append([said(ANN, "1", room)], NOW)) == [1]


async def test_a_batch_of_which_everything_is_refused_changes_nothing(store):
    assert outcome(await store.append([said(ANN, "1", NOBODY), said(ANN, "1", f"room:{room_id(1)}")], NOW)) == [
        "NotFound",
        "NotFound",
    ]
    assert await store.memberships([ANN]) == {ANN: []}
    assert await store.append([], NOW) == []


async def test_a_first_direct_message_puts_both_people_in_the_conversation(store):
    assert await store.role(BOB, DIRECT) is None
    assert outcome(await store.append([said(BOB, "1", ANN), said(ANN, "1", BOB)], NOW)) == [1, 2]
    assert await store.memberships([ANN, BOB, CAT]) == {
        ANN: [Membership(DIRECT, "member", 2, 2, 0)],
        BOB: [Membership(DIRECT, "member", 2, 1, 0)],
        CAT: [],
    }
    assert await store.members(DIRECT) == {ANN: "member", BOB: "member"}
    assert await store.role(BOB, DIRECT) == "member"


async def test_who_says_something_has_read_what_was_said_before_and_nobody_else_has(store):
    room = await opened(store)
    await store.append([said(ANN, "1", room), said(BOB, "1", room), said(ANN, "2", room)], NOW)
    unread = {user: [each.unread for each in found] for user, found in (await store.memberships([ANN, BOB])).items()}
    assert unread == {ANN: [0], BOB: [1]}
    await store.append([said(BOB, "1", room)], NOW)
    assert [each.read_seq for each in (await store.memberships([BOB]))[BOB]] == [2]
    await store.append([said(BOB, "2", room)], NOW)
    assert [each.unread for each in (await store.memberships([BOB]))[BOB]] == [0]


async def test_pages_go_forwards_and_backwards(store):
    room = await opened(store)
    await store.append([said(ANN, str(number), room) for number in range(1, 8)], NOW)

    def seqs(found):
        return [each.seq for each in found]

    assert seqs(await store.after(room, 2, 3)) == [3, 4, 5]
    assert seqs(await store.after(room, 7, 3)) == []
    assert seqs(await store.before(room, None, 3)) == [7, 6, 5]
    assert seqs(await store.before(room, 5, 3)) == [4, 3, 2]
    assert seqs(await store.before(room, 1, 3)) == []
    assert await store.before(f"room:{room_id(9)}", None, 3) == []


async def test_the_last_sequences_of_thousands_of_conversations_are_read_at_once(store):
    room = await opened(store, 1_234)
    await store.append([said(ANN, "1", room)], NOW)
    asked = [f"room:{room_id(number)}" for number in range(2_000)]
    found = await store.last_seqs(asked)
    assert list(found) == asked
    assert {conversation for conversation, seq in found.items() if seq} == {room}


async def test_two_nodes_write_one_sequence_and_nobody_sees_a_gap_in_it(store, other_node):
    rooms = [await opened(store, number, members=[BOB, CAT, DAN]) for number in (1, 2, 3)]
    writing = True
    gaps = []

    async def write(node, sender):
        for number in range(15):
            order = rooms if number % 2 else rooms[::-1]
            await node.append([said(sender, f"{number}.{room}", room) for room in order], NOW)

    async def look():
        while writing:
            for room in rooms:
                last = (await store.last_seqs([room]))[room]
                seen = [each.seq for each in await store.after(room, 0, 1000)]
                gaps.extend([room] if seen != list(range(1, len(seen) + 1)) or len(seen) < last else [])

    nodes = ((store, ANN), (other_node, BOB), (store, CAT), (other_node, DAN))
    async with asyncio.TaskGroup() as group:
        group.create_task(look())
        async with asyncio.TaskGroup() as writers:
            for node, sender in nodes:
                writers.create_task(write(node, sender))
        writing = False
    assert gaps == []
    assert await store.last_seqs(rooms) == dict.fromkeys(rooms, 60)


async def test_the_same_message_through_two_nodes_at_once_is_stored_once(store, other_node):
    room = await opened(store)
    for number in range(20):
        draft = said(ANN, str(number), room if number % 2 else BOB)
        mine, theirs = await asyncio.gather(store.append([draft], NOW), other_node.append([draft], NOW))
        assert mine == theirs
    assert await store.last_seqs([room, DIRECT]) == {room: 10, DIRECT: 10}


async def test_one_client_id_in_two_conversations_at_once_is_one_message(store, other_node):
    rooms = [await opened(store, number) for number in (1, 2)]
    for number in range(20):
        drafts = [said(ANN, str(number), room) for room in rooms]
        told = await asyncio.gather(store.append(drafts[:1], NOW), other_node.append(drafts[1:], NOW))
        assert sorted(type(answer).__name__ for (answer,) in told) == ["IdempotencyMismatch", "Message"]
    assert sum((await store.last_seqs(rooms)).values()) == 20


async def test_two_nodes_that_open_the_same_direct_conversations_at_once_both_write(store, other_node, database):
    strangers = [f"{number:032d}" for number in range(20)]
    await settle(database, strangers)
    told = await asyncio.gather(
        store.append([said(ANN, each, each) for each in strangers], NOW),
        other_node.append([said(each, "1", ANN) for each in reversed(strangers)], NOW),
    )
    assert sorted(each.seq for answers in told for each in answers) == [1] * 20 + [2] * 20


async def test_other_nodes_that_are_always_in_the_way_are_named_after_a_few_attempts(store, monkeypatch):
    attempts = []

    def in_the_way(_connection, **_kept):
        attempts.append(1)
        raise IntegrityError("INSERT", {}, Exception("duplicate"))

    monkeypatch.setattr(store_sql, "append_all", in_the_way)
    with pytest.raises(DatabaseUnavailable, match="in the way"):
        await store.append([said(ANN, "1", BOB)], NOW)
    assert len(attempts) == 5


async def test_a_large_batch_takes_no_more_statements_than_a_small_one(store, monkeypatch):
    rooms = [await opened(store, number) for number in range(20)]
    counted = []

    async def statements(drafts):
        counted.clear()
        await store.append(drafts, NOW)
        return len(counted)

    def count(_connection, _cursor, statement, *_rest):
        counted.append(statement)

    def counting(directly):
        def run(connection, statement, values):
            counted.append(statement)
            return directly(connection, statement, values)

        return run

    # On SQLite they pass SQLAlchemy by.
    for name in ("run_directly", "run_for_each"):
        monkeypatch.setattr(rows_sql, name, counting(getattr(rows_sql, name)))
    event.listen(Engine, "before_cursor_execute", count)
    try:
        small = await statements([said(ANN, "small", rooms[0]), said(ANN, "direct", BOB)])
        large = await statements(
            [said(ANN, f"{number}", rooms[number % 20]) for number in range(200)]
            + [said(BOB, f"{each[0]}", each) for each in (CAT, DAN)]
        )
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert 0 < large <= small <= 12


async def test_only_history_may_come_from_a_replica_and_it_names_its_reader(store, database, monkeypatch):
    room = await opened(store)
    reading, callers = database.reading, []

    @asynccontextmanager
    async def noted(caller=None):
        callers.append(caller)
        async with reading(caller) as connection:
            yield connection

    monkeypatch.setattr(database, "reading", noted)
    await store.after(room, 0, 1)
    await store.before(room, None, 1)
    await store.last_seqs([room])
    await store.memberships([ANN])
    await store.role(ANN, room)
    await store.members(room)
    await store.room(room_id(1))
    await store.rooms(ANN, None, 1)
    assert set(callers) == {None}
    await store.before(room, None, 1, ANN)
    assert callers[-1] == ANN


async def test_problems_of_a_batch_say_what_is_wrong_with_the_draft(store):
    room = await opened(store)
    nobody, nowhere = await store.append([said(ANN, "1", NOBODY), said(CAT, "1", room)], NOW)
    assert isinstance(nobody, NotFound)
    assert isinstance(nowhere, NotFound)
    assert (nobody.detail, nowhere.detail) == (
        "to: there is no such user.",
        "to: there is no such room, or you are not in it.",
    )
    _, again = await store.append([said(ANN, "1", room), said(ANN, "1", room, "1")], NOW)
    assert isinstance(again, IdempotencyMismatch)
    assert again.detail == "This id was used for another message."
