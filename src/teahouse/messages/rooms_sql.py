"""Rooms and who is in them, each change as one transaction's work."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, Select, delete, func, insert, select

from teahouse.messages.model import Room
from teahouse.messages.tables_sql import (
    conversation_of_room,
    conversations,
    membership_row,
    memberships,
    rooms,
    users,
)
from teahouse.problems import NotFound, RoomFull, TooManyRooms


def add_room(connection: Connection, room: Room, members: Collection[str], most: int | None) -> None:
    """See ``MessageStore``."""
    if most is not None:
        _check_rooms_of(connection, room.created_by, most)
    others = sorted(set(members) - {room.created_by})
    _check_existing(connection, [room.created_by, *others])
    conversation = conversation_of_room(room.id)
    connection.execute(insert(conversations), [{"id": conversation, "seq": 0}])
    row = {"id": room.id, "name": room.name, "created_by": room.created_by, "created_at": room.created_at}
    connection.execute(insert(rooms), [row])
    roles = {room.created_by: "owner"} | dict.fromkeys(others, "member")
    rows = [membership_row(conversation, each, role, now=room.created_at, joined_seq=0) for each, role in roles.items()]
    connection.execute(insert(memberships), rows)


def add_members(
    connection: Connection, room_id: str, user_ids: Collection[str], now: int, most: int | None
) -> list[str]:
    """See ``MessageStore``."""
    conversation = conversation_of_room(room_id)
    said = _hold(connection, conversation)
    if said is None:
        raise NotFound("There is no such room.")
    wanted = sorted(set(user_ids))
    _check_existing(connection, wanted)
    inside = select(memberships.c.user_id).where(
        memberships.c.conversation == conversation, memberships.c.user_id.in_(wanted)
    )
    known = set(connection.scalars(inside))
    new = [each for each in wanted if each not in known]
    if new and most is not None and len(new) + _size(connection, conversation) > most:
        raise RoomFull
    if new:
        rows = [membership_row(conversation, each, "member", now=now, joined_seq=said) for each in new]
        connection.execute(insert(memberships), rows)
    return new


def remove_member(connection: Connection, room_id: str, user_id: str) -> bool:
    """See ``MessageStore``."""
    conversation = conversation_of_room(room_id)
    if _hold(connection, conversation) is None:
        return False
    theirs = delete(memberships).where(memberships.c.conversation == conversation, memberships.c.user_id == user_id)
    return connection.execute(theirs).rowcount == 1


def rooms_named(conversations: Sequence[str]) -> Select[tuple[str, str, str, int]]:
    """The query for the rooms that have these conversations."""
    return select(rooms).where(rooms.c.id.in_([each.removeprefix("room:") for each in conversations]))


def _hold(connection: Connection, conversation: str) -> int | None:
    # Nothing is said in it until the commit: a newcomer's position is that of the last message before they came, and
    # who was removed has said nothing afterwards.
    held = select(conversations.c.seq).where(conversations.c.id == conversation).with_for_update()
    seq: int | None = connection.scalar(held)
    return seq


def _size(connection: Connection, conversation: str) -> int:
    size = select(func.count()).select_from(memberships).where(memberships.c.conversation == conversation)
    return connection.scalar(size) or 0


def _check_rooms_of(connection: Connection, user_id: str, most: int) -> None:
    # Held, so that two of their requests at one moment count one after the other.
    connection.execute(select(users.c.id).where(users.c.id == user_id).with_for_update())
    made = connection.scalar(select(func.count()).select_from(rooms).where(rooms.c.created_by == user_id)) or 0
    if made >= most:
        raise TooManyRooms


def _check_existing(connection: Connection, user_ids: Collection[str]) -> None:
    found = set(connection.scalars(select(users.c.id).where(users.c.id.in_(user_ids))))
    missing = sorted(set(user_ids) - found)
    if missing:
        raise NotFound(f"There is no user {missing[0]}.")
