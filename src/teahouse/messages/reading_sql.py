"""What people are in conversations, and up to where they have read: many of them at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection

from teahouse.messages.model import ReadMark, RoomRole
from teahouse.messages.rows_sql import change, over_rows, run
from teahouse.messages.tables_sql import CONVERSATION_LENGTH
from teahouse.problems import NotFound

_MARK = [("conversation", f"VARCHAR({CONVERSATION_LENGTH})"), ("user_id", "VARCHAR(32)"), ("seq", "BIGINT")]

_roles = over_rows(
    _MARK[:2],
    "SELECT kept.conversation, kept.user_id, kept.role FROM {new} {join} memberships AS kept "
    "ON kept.conversation = new.conversation AND kept.user_id = new.user_id",
)
_positions = over_rows(
    _MARK[:2],
    "SELECT kept.conversation, kept.user_id, kept.read_seq, conversations.seq FROM {new} {join} memberships AS kept "
    "ON kept.conversation = new.conversation AND kept.user_id = new.user_id "
    "{join} conversations ON conversations.id = kept.conversation",
)
# From the memberships of the one who asks, each a look-up of the other one. Not joined with the rows: PostgreSQL, which
# cannot know how few they are, would rather read the whole table.
_acquainted = over_rows(
    [("one", "VARCHAR(32)"), ("other", "VARCHAR(32)")],
    "SELECT new.one, new.other, (SELECT theirs.user_id FROM memberships AS mine JOIN memberships AS theirs "
    "ON theirs.conversation = mine.conversation WHERE mine.user_id = new.one AND theirs.user_id = new.other LIMIT 1) "
    "FROM {new}",
)
# Another node may have written a higher one meanwhile, which stays.
advance = over_rows(
    _MARK,
    "UPDATE memberships SET read_seq = new.seq FROM {new} WHERE memberships.conversation = new.conversation "
    "AND memberships.user_id = new.user_id AND memberships.read_seq < new.seq",
    mysql="UPDATE {new} {join} memberships AS kept ON kept.conversation = new.conversation "
    "AND kept.user_id = new.user_id SET kept.read_seq = new.seq WHERE kept.read_seq < new.seq",
    sqlite="UPDATE memberships SET read_seq = ?3 WHERE conversation = ?1 AND user_id = ?2 AND read_seq < ?3",
)


def read_roles(connection: Connection, places: Collection[tuple[str, str]]) -> dict[tuple[str, str], RoomRole]:
    """See ``MessageStore.roles``."""
    rows = run(connection, _roles, sorted((conversation, user_id) for user_id, conversation in set(places)))
    return {(user_id, conversation): role for conversation, user_id, role in rows}


def read_acquainted(connection: Connection, pairs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """See ``MessageStore.acquainted``."""
    found = run(connection, _acquainted, sorted(set(pairs)))
    return {(one, other) for one, other, shared in found if shared is not None}


def mark_all_read(connection: Connection, marks: Sequence[ReadMark]) -> list[int | NotFound]:
    """See ``MessageStore.mark_all_read``."""
    wanted = sorted({(mark.conversation, mark.user_id) for mark in marks})
    held: dict[tuple[str, str], int] = {}
    last: dict[str, int] = {}
    for conversation, user_id, read_seq, seq in run(connection, _positions, wanted):
        held[conversation, user_id] = read_seq
        last[conversation] = seq
    risen: dict[tuple[str, str], int] = {}
    for mark in marks:
        place = mark.conversation, mark.user_id
        position = min(mark.seq, last.get(mark.conversation, 0))
        if place in held and position > held[place]:
            risen[place] = held[place] = position
    if risen:
        # In one order on every node, so that two never wait for each other.
        change(connection, advance, [(*place, position) for place, position in sorted(risen.items())])
    return [
        held[place] if (place := (mark.conversation, mark.user_id)) in held else NotFound("to: you are not in it.")
        for mark in marks
    ]
