"""Where messages are kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from teahouse.messages.model import Draft, Membership, Message, Parts, ReadMark, Room, RoomRole
from teahouse.problems import NotFound, Problem


class MessageStore(Protocol):
    """Messages, rooms and who is in them; moments are Unix milliseconds.

    Each method is atomic: all of it is on disk when it returns, nothing of it when it raises ``DatabaseUnavailable``.
    Any number of nodes may use it at once.
    """

    async def append(self, drafts: Sequence[Draft], now: int) -> list[Message | Problem]:
        """Stores them in this order, each with the next ``seq`` of its conversation: no gap, ever.

        A sender's ``id`` that is stored already gives the message of then, whatever has happened since;
        ``IdempotencyMismatch`` where that one was another message. ``NotFound`` where the sender is not in the room, or
        the other person does not exist. Whoever says something has read what was said before. Messages that were
        committed have lower ``seq`` than those committed later.
        """
        ...

    async def after(self, conversation: str, seq: int, limit: int) -> list[Message]:
        """Messages above ``seq``, oldest first."""
        ...

    async def before(self, conversation: str, seq: int | None, limit: int, reader: str | None = None) -> list[Message]:
        """Messages below ``seq``, or the latest, newest first.

        With the ``reader`` named (a user's id) they may be as old as a replica is behind, unless that user has just
        written something. What every other method returns is never old.
        """
        ...

    async def last_seqs(self, conversations: Collection[str]) -> dict[str, int]:
        """The highest ``seq`` of each; 0 where nothing was said yet."""
        ...

    async def memberships(self, user_ids: Collection[str]) -> Mapping[str, list[Membership]]:
        """The conversations that each of the users takes part in, rooms and direct ones, the latest joined first."""
        ...

    async def first_memberships(self, user_ids: Collection[str], most: int) -> Mapping[str, Parts]:
        """Of the conversations that each of the users takes part in, the first ``most``.

        They are so chosen that nobody can push out of them what matters to somebody else:

        1. where they have spoken or read, and rooms that they made, the latest joined first;
        2. the others, the oldest first; of the rooms that one person has made ten at most;
        3. what is left of those, the oldest first.
        """
        ...

    async def role(self, user_id: str, conversation: str) -> RoomRole | None:
        """What the user is in the conversation; None where they are not in it."""
        ...

    async def roles(self, places: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], RoomRole]:
        """The same for many, by user and conversation; who is not in it is left out."""
        ...

    async def acquainted(self, pairs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of the pairs of users who share a conversation, a room or a direct one."""
        ...

    async def mark_read(self, user_id: str, conversation: str, seq: int) -> int:
        """They have read up to ``seq``; a lower one than before changes nothing. Returns the position that holds, at
        most the last ``seq``. Raises ``NotFound`` where they are not in it.
        """
        ...

    async def mark_all_read(self, marks: Sequence[ReadMark]) -> list[int | NotFound]:
        """The same for many, in one transaction: for each the position that holds, or ``NotFound``."""
        ...

    async def add_room(self, room: Room, members: Collection[str], *, most: int | None = None) -> None:
        """A new room; its creator owns it, the others are members. ``NotFound`` where one of them does not exist,
        ``TooManyRooms`` where its creator has made ``most`` already.
        """
        ...

    async def rooms(self, user_id: str, before: str | None, limit: int) -> list[tuple[Room, Membership]]:
        """Rooms of the user, newest first, older than the id ``before``."""
        ...

    async def directs(self, user_id: str, after: str, limit: int) -> list[Membership]:
        """The user's direct conversations with at least one message, by name, beginning after that name."""
        ...

    async def room(self, room_id: str) -> Room | None:
        """The room with this id."""
        ...

    async def add_members(
        self, room_id: str, user_ids: Collection[str], now: int, *, most: int | None = None
    ) -> list[str]:
        """Adds whom is not in it yet and returns these. They have read what was said before they came.
        ``NotFound`` where one of them, or the room, does not exist, ``RoomFull`` where more than ``most`` would be in.
        """
        ...

    async def remove_member(self, room_id: str, user_id: str) -> bool:
        """False where they were not in it."""
        ...

    async def members(self, conversation: str) -> Mapping[str, RoomRole]:
        """Everybody in it."""
        ...
