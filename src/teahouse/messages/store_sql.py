"""Messages and rooms in SQL: SQLite, MySQL, MariaDB or PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError

from teahouse.engines.sql import Database
from teahouse.messages.appending_sql import append_all
from teahouse.messages.first_sql import joined_conversations, parts_columns, read_first
from teahouse.messages.model import Draft, Membership, Message, Parts, ReadMark, Room, RoomRole
from teahouse.messages.reading_sql import mark_all_read, read_acquainted, read_roles
from teahouse.messages.rooms_sql import add_members, add_room, remove_member, rooms_named
from teahouse.messages.tables_sql import (
    conversation_of_room,
    conversations,
    memberships,
    message_columns,
    messages,
    read_membership,
    read_message,
    read_room,
    rooms,
)
from teahouse.problems import DatabaseUnavailable, NotFound, Problem

# Each time that a batch runs again, what stood in its way is stored.
_ATTEMPTS = 5
_CHUNK = 500
# Above every room's conversation, and below every other.
_AFTER_ROOMS = "room:g"
# Above every room's conversation, and below every direct one.
_BEFORE_DIRECTS = "user:"


class SqlMessageStore:
    """A ``MessageStore``; every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, drafts: Sequence[Draft], now: int) -> list[Message | Problem]:
        """See ``MessageStore``."""
        work = partial(append_all, drafts=drafts, now=now)
        senders = [draft.sender_id for draft in drafts]
        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._database.write(work, senders)
            except IntegrityError:
                # Another node opened the same conversation, or stored the same message, just now: now it is found.
                continue
        try:
            return await self._database.write(work, senders)
        except IntegrityError as error:
            raise DatabaseUnavailable("Other nodes were in the way of these messages each time.") from error

    async def after(self, conversation: str, seq: int, limit: int) -> list[Message]:
        """See ``MessageStore``."""
        query = (
            select(*message_columns)
            .where(messages.c.conversation == conversation, messages.c.seq > seq)
            .order_by(messages.c.seq)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            return [read_message(row) for row in await connection.execute(query)]

    async def before(self, conversation: str, seq: int | None, limit: int, reader: str | None = None) -> list[Message]:
        """See ``MessageStore``."""
        query = select(*message_columns).where(messages.c.conversation == conversation)
        if seq is not None:
            query = query.where(messages.c.seq < seq)
        async with self._database.reading(reader) as connection:
            rows = await connection.execute(query.order_by(messages.c.seq.desc()).limit(limit))
            return [read_message(row) for row in rows]

    async def last_seqs(self, conversations: Collection[str]) -> dict[str, int]:
        """See ``MessageStore``."""
        found = dict.fromkeys(conversations, 0)
        async with self._database.reading() as connection:
            for chunk in _chunks(found):
                found |= {row.id: row.seq for row in await connection.execute(_last_of(chunk))}
        return found

    async def memberships(self, user_ids: Collection[str]) -> Mapping[str, list[Membership]]:
        """See ``MessageStore``."""
        found: dict[str, list[Membership]] = {user_id: [] for user_id in user_ids}
        async with self._database.reading() as connection:
            for chunk in _chunks(found):
                query = (
                    select(*parts_columns)
                    .select_from(joined_conversations)
                    .where(memberships.c.user_id.in_(chunk))
                    .order_by(memberships.c.joined_at.desc())
                )
                for row in await connection.execute(query):
                    found[row.user_id].append(read_membership(row))
        return found

    async def first_memberships(self, user_ids: Collection[str], most: int) -> Mapping[str, Parts]:
        """See ``MessageStore``."""
        found: dict[str, Parts] = {}
        async with self._database.reading() as connection:
            for chunk in _chunks(dict.fromkeys(user_ids)):
                found |= await connection.run_sync(read_first, chunk, most)
        return found

    async def role(self, user_id: str, conversation: str) -> RoomRole | None:
        """See ``MessageStore``."""
        return (await self.roles([(user_id, conversation)])).get((user_id, conversation))

    async def roles(self, places: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], RoomRole]:
        """See ``MessageStore``."""
        async with self._database.reading() as connection:
            return await connection.run_sync(read_roles, places)

    async def acquainted(self, pairs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """See ``MessageStore``."""
        async with self._database.reading() as connection:
            return await connection.run_sync(read_acquainted, pairs)

    async def mark_read(self, user_id: str, conversation: str, seq: int) -> int:
        """See ``MessageStore``."""
        (answer,) = await self.mark_all_read([ReadMark(user_id, conversation, seq)])
        if isinstance(answer, Problem):
            raise answer
        return answer

    async def mark_all_read(self, marks: Sequence[ReadMark]) -> list[int | NotFound]:
        """See ``MessageStore``."""
        return await self._database.write(partial(mark_all_read, marks=marks), [mark.user_id for mark in marks])

    async def add_room(self, room: Room, members: Collection[str], *, most: int | None = None) -> None:
        """See ``MessageStore``."""
        await self._database.write(partial(add_room, room=room, members=members, most=most), room.created_by)

    async def rooms(self, user_id: str, before: str | None, limit: int) -> list[tuple[Room, Membership]]:
        """See ``MessageStore``."""
        upper = _AFTER_ROOMS if before is None else conversation_of_room(before)
        query = (
            select(*parts_columns)
            .select_from(joined_conversations)
            .where(memberships.c.user_id == user_id, memberships.c.conversation < upper)
            .order_by(memberships.c.conversation.desc())
            .limit(limit)
        )
        async with self._database.reading() as connection:
            found = [read_membership(row) for row in await connection.execute(query)]
            named = await connection.execute(rooms_named([each.conversation for each in found]))
            by_conversation = {conversation_of_room(row.id): read_room(row) for row in named}
        return [(by_conversation[each.conversation], each) for each in found]

    async def directs(self, user_id: str, after: str, limit: int) -> list[Membership]:
        """See ``MessageStore``."""
        query = (
            select(*parts_columns)
            .select_from(joined_conversations)
            .where(memberships.c.user_id == user_id, memberships.c.conversation > (after or _BEFORE_DIRECTS))
            .order_by(memberships.c.conversation)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            return [read_membership(row) for row in await connection.execute(query)]

    async def room(self, room_id: str) -> Room | None:
        """See ``MessageStore``."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(rooms).where(rooms.c.id == room_id))).first()
        return None if row is None else read_room(row)

    async def add_members(
        self, room_id: str, user_ids: Collection[str], now: int, *, most: int | None = None
    ) -> list[str]:
        """See ``MessageStore``."""
        work = partial(add_members, room_id=room_id, user_ids=user_ids, now=now, most=most)
        return await self._database.write(work)

    async def remove_member(self, room_id: str, user_id: str) -> bool:
        """See ``MessageStore``."""
        return await self._database.write(partial(remove_member, room_id=room_id, user_id=user_id))

    async def members(self, conversation: str) -> Mapping[str, RoomRole]:
        """See ``MessageStore``."""
        query = select(memberships.c.user_id, memberships.c.role).where(memberships.c.conversation == conversation)
        async with self._database.reading() as connection:
            return {row.user_id: row.role for row in await connection.execute(query)}


def _last_of(chunk: Sequence[str]) -> Select[tuple[str, int]]:
    return select(conversations.c.id, conversations.c.seq).where(conversations.c.id.in_(chunk))


def _chunks(items: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
