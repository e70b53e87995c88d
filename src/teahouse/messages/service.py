"""What people do with messages: send, catch up, read; rooms and who is in them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import NamedTuple

from teahouse.batching import Batcher
from teahouse.clock import Clock
from teahouse.messages.frames import encode_read, encode_system
from teahouse.messages.hub import Hub, Receiver
from teahouse.messages.model import (
    Draft,
    Kind,
    Membership,
    Message,
    ReadMark,
    Room,
    RoomRole,
    address_for,
    conversation_of,
    people_of,
)
from teahouse.messages.store import MessageStore
from teahouse.problems import Forbidden, NotFound, Problem, RoomFull

_MAX_BATCH = 256
_NO_ROOM = "There is no such room."


class _Sending(NamedTuple):
    draft: Draft
    origin: str


class Messages:
    """Every message is stored before its sender is told so; then it goes to whoever is there (``Hub``).

    ``max_waiting`` messages wait for the store at most, and as many read positions; one more is ``Overloaded``.
    Somebody who missed more than ``sync_messages`` of a conversation is told so instead of being sent them. One person
    makes ``rooms_per_user`` rooms, of ``room_members`` with themselves, at most.
    """

    def __init__(
        self,
        store: MessageStore,
        hub: Hub,
        *,
        clock: Clock,
        max_waiting: int = 10_000,
        sync_messages: int = 1_000,
        room_members: int = 20_000,
        rooms_per_user: int = 1_000,
    ) -> None:
        self.hub = hub
        self.batcher: Batcher[_Sending, Message] = Batcher(
            self._flush, name="messages", max_batch=_MAX_BATCH, max_waiting=max_waiting
        )
        self.reads: Batcher[ReadMark, int] = Batcher(
            self._flush_reads, name="read positions", max_batch=_MAX_BATCH, max_waiting=max_waiting
        )
        # Thousands of sockets that come back at once ask this for each of their rooms.
        self.roles: Batcher[tuple[str, str], RoomRole | None] = Batcher(
            self._flush_roles, name="roles", max_batch=_MAX_BATCH, max_waiting=max_waiting
        )
        self.acquainted: Batcher[tuple[str, str], bool] = Batcher(
            self._flush_acquainted, name="acquainted", max_batch=_MAX_BATCH, max_waiting=max_waiting
        )
        self._store = store
        self._clock = clock
        self._sync_messages = sync_messages
        self._room_members = room_members
        self._rooms_per_user = rooms_per_user

    async def start(self) -> None:
        """Call once, before the first socket."""
        await self.hub.start()

    async def aclose(self) -> None:
        """Stores and tells what was accepted; takes no more."""
        await self.batcher.aclose()
        await self.reads.aclose()
        await self.roles.aclose()
        await self.acquainted.aclose()
        await self.hub.aclose()

    # --- messages ---

    def send(
        self,
        caller_id: str,
        *,
        kind: Kind,
        id: str,  # noqa: A002 - the frame's name
        to: str,
        content: str,
        origin: str = "",
    ) -> asyncio.Future[Message]:
        """Await it for the message as it was stored; ``origin`` is the socket that need not be sent it.

        Raises at once, or the future does: ``NotFound``, ``ValidationFailed``, ``IdempotencyMismatch``,
        ``Overloaded``, ``ShuttingDown``, ``DatabaseUnavailable``. Sent again with the same ``id`` it is the same
        message.
        """
        draft = Draft(caller_id, id, conversation_of(caller_id, to), kind, content)
        return self.batcher.submit(_Sending(draft, origin))

    async def _flush(self, sendings: list[_Sending]) -> Sequence[Message | Problem]:
        try:
            stored = await self._store.append([each.draft for each in sendings], self._clock.now_ms())
        except Problem as problem:
            # Each caller gets an exception of its own: a shared one would gather every caller's traceback.
            return [type(problem)(problem.detail) for _ in sendings]
        for sending, message in zip(sendings, stored, strict=True):
            if isinstance(message, Message):
                # Also one that was stored before: its first telling may have been lost.
                self.hub.publish(message, sending.origin)
        return stored

    async def sync(self, receiver: Receiver, to: str, after: int) -> bool:
        """Sends what was missed since ``after``, in order, and then True; False where that is too much."""
        conversation = conversation_of(receiver.user_id, to)
        await self._role(receiver.user_id, conversation)
        return await self.hub.catch_up(receiver, conversation, after, self._sync_messages)

    async def history(self, caller_id: str, to: str, before: int | None, limit: int) -> list[Message]:
        """Messages below ``before``, newest first. Raises ``NotFound``."""
        conversation = conversation_of(caller_id, to)
        await self._role(caller_id, conversation)
        return await self._store.before(conversation, before, limit, caller_id)

    async def mark_read(self, caller_id: str, to: str, seq: int) -> int:
        """The caller has read up to ``seq``; their other sockets hear of it, and the other one of a direct
        conversation. Returns the position that holds now.
        """
        conversation = conversation_of(caller_id, to)
        position = await self.reads.submit(ReadMark(caller_id, conversation, seq))
        self.hub.tell(caller_id, encode_read(to, caller_id, position))
        for other in people_of(conversation) or ():
            if other != caller_id:
                self.hub.tell(other, encode_read(address_for(other, conversation), caller_id, position))
        return position

    async def _flush_reads(self, marks: list[ReadMark]) -> Sequence[int | Problem]:
        try:
            return await self._store.mark_all_read(marks)
        except Problem as problem:
            return [type(problem)(problem.detail) for _ in marks]

    async def presence(self, receiver: Receiver, to: str) -> list[str]:
        """Who of the conversation's people, but the caller, is there now; the socket is told from now on who comes and
        goes. Raises ``NotFound`` and 503 problems.

        Who shares no conversation with the caller looks like somebody who is not there, or does not exist.
        """
        caller_id = receiver.user_id
        conversation = conversation_of(caller_id, to)
        await self._role(caller_id, conversation)
        # Watched first: whoever comes after the question was answered is told of.
        await self.hub.watch(receiver, conversation)
        two = people_of(conversation)
        others = {each for each in two or await self._store.members(conversation) if each != caller_id}
        if two and not all([await self.acquainted.submit((caller_id, other)) for other in others]):
            return []
        return sorted(await self.hub.online(receiver, conversation, others))

    # --- rooms ---

    @property
    def _full(self) -> str:
        return f"A room has {self._room_members} members at most."

    async def create_room(self, caller_id: str, name: str, members: Collection[str]) -> Room:
        """A room that the caller owns. Raises ``NotFound`` where a member does not exist, ``RoomFull`` and
        ``TooManyRooms``.
        """
        room = Room(self._clock.new_id(), name, caller_id, self._clock.now_ms())
        others = set(members) - {caller_id}
        if len(others) >= self._room_members:
            raise RoomFull(self._full)
        await self._store.add_room(room, others, most=self._rooms_per_user)
        for user_id in (caller_id, *others):
            self.hub.joined(user_id, f"room:{room.id}")
        return room

    async def rooms(self, caller_id: str, before: str | None, limit: int) -> list[tuple[Room, Membership]]:
        """The caller's rooms, newest first, older than the id ``before``."""
        return await self._store.rooms(caller_id, before, limit)

    async def directs(self, caller_id: str, after: str, limit: int) -> list[Membership]:
        """The caller's conversations with one other person, by name, beginning after that name."""
        return await self._store.directs(caller_id, after, limit)

    async def members(self, caller_id: str, room_id: str) -> dict[str, RoomRole]:
        """Everybody in the room. Raises ``NotFound``."""
        await self._role(caller_id, f"room:{room_id}")
        return dict(await self._store.members(f"room:{room_id}"))

    async def add_members(self, caller_id: str, room_id: str, user_ids: Collection[str]) -> list[str]:
        """Those who are new in it. Raises ``NotFound``, ``Forbidden`` where the caller does not own the room, and
        ``RoomFull``.
        """
        conversation = f"room:{room_id}"
        if await self._role(caller_id, conversation) != "owner":
            raise Forbidden("Only the owner of a room brings people in.")
        try:
            added = await self._store.add_members(room_id, set(user_ids), self._clock.now_ms(), most=self._room_members)
        except RoomFull as problem:
            raise RoomFull(self._full) from problem
        for user_id in added:
            self.hub.joined(user_id, conversation)
        return added

    async def remove_member(self, caller_id: str, room_id: str, user_id: str) -> None:
        """The owner removes somebody, or a member leaves. Raises ``NotFound`` and ``Forbidden``."""
        conversation = f"room:{room_id}"
        role = await self._role(caller_id, conversation)
        if (role == "owner") == (caller_id == user_id):
            reason = "The owner stays." if role == "owner" else "Only the owner of a room removes others."
            raise Forbidden(reason)
        if not await self._store.remove_member(room_id, user_id):
            raise NotFound("There is no such member.")
        self.hub.left(user_id, conversation)
        self.hub.tell(user_id, encode_system("room-left", {"roomId": room_id}))

    async def _role(self, user_id: str, conversation: str) -> RoomRole:
        """What the user is in the conversation; two people are always in theirs. Raises ``NotFound``."""
        if people_of(conversation) is not None:
            return "member"
        role = await self.roles.submit((user_id, conversation))
        if role is None:
            raise NotFound(_NO_ROOM)
        return role

    async def _flush_acquainted(self, pairs: list[tuple[str, str]]) -> Sequence[bool | Problem]:
        try:
            found = await self._store.acquainted(pairs)
        except Problem as problem:
            return [type(problem)(problem.detail) for _ in pairs]
        return [pair in found for pair in pairs]

    async def _flush_roles(self, places: list[tuple[str, str]]) -> Sequence[RoomRole | Problem | None]:
        try:
            found = await self._store.roles(places)
        except Problem as problem:
            return [type(problem)(problem.detail) for _ in places]
        return [found.get(place) for place in places]
