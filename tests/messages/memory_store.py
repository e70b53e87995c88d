"""A message store in memory that several hubs share, and that a test can take away."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from teahouse.messages.model import Draft, Membership, Message, Parts, RoomRole, people_of
from teahouse.problems import DatabaseUnavailable


def person(number: int) -> str:
    """A user's id."""
    return f"{number:032x}"


def room(number: int) -> str:
    """A room's conversation."""
    return f"room:{number:032x}"


def direct(one: int, other: int) -> str:
    """Two people's conversation."""
    first, second = sorted((person(one), person(other)))
    return f"user:{first}:{second}"


class MemoryStore:
    """As much of a ``MessageStore`` as hubs use. ``statements`` counts what was asked, by method."""

    def __init__(self) -> None:
        self.messages: dict[str, list[Message]] = defaultdict(list)
        self.people: dict[str, dict[str, int]] = defaultdict(dict)
        self.statements: Counter[str] = Counter()
        self.away = False
        # Reads wait for this one, when a test sets it.
        self.gate: asyncio.Event | None = None

    # --- what a test does ---

    def join(self, user_id: str, conversation: str) -> None:
        # What was said before they came counts as read.
        self.people[user_id].setdefault(conversation, len(self.messages[conversation]))

    def leave(self, user_id: str, conversation: str) -> None:
        self.people[user_id].pop(conversation, None)

    def say(self, sender_id: str, conversation: str, content: str = '"tea"') -> Message:
        for each in people_of(conversation) or ():
            self.people[each].setdefault(conversation, 0)
        seq = len(self.messages[conversation]) + 1
        message = Message(conversation, seq, sender_id, f"{conversation}-{seq}"[-64:], "text", content, seq)
        self.messages[conversation].append(message)
        return message

    # --- what a hub asks ---

    async def append(self, drafts: Sequence[Draft], now: int) -> list[Message]:
        await self._asked("append")
        return [self.say(draft.sender_id, draft.conversation, draft.content) for draft in drafts]

    async def after(self, conversation: str, seq: int, limit: int) -> list[Message]:
        await self._asked("after")
        return self.messages[conversation][seq : seq + limit]

    async def last_seqs(self, conversations: Collection[str]) -> dict[str, int]:
        await self._asked("last_seqs")
        return {each: len(self.messages[each]) for each in conversations}

    async def memberships(self, user_ids: Collection[str]) -> dict[str, list[Membership]]:
        await self._asked("memberships")
        return {
            each: [
                Membership(name, "member", len(self.messages[name]), len(self.messages[name]), since)
                for name, since in self.people[each].items()
            ]
            for each in user_ids
        }

    async def first_memberships(self, user_ids: Collection[str], most: int) -> dict[str, Parts]:
        found = await self.memberships(user_ids)
        return {each: Parts(parts[:most], len(parts)) for each, parts in found.items()}

    async def members(self, conversation: str) -> dict[str, RoomRole]:
        await self._asked("members")
        return {each: "member" for each, conversations in self.people.items() if conversation in conversations}

    async def roles(self, places: Collection[tuple[str, str]]) -> dict[tuple[str, str], RoomRole]:
        await self._asked("roles")
        return {place: "member" for place in places if place[1] in self.people[place[0]]}

    async def acquainted(self, pairs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        await self._asked("acquainted")
        return {pair for pair in pairs if self.people[pair[0]].keys() & self.people[pair[1]].keys()}

    async def _asked(self, what: str) -> None:
        self.statements[what] += 1
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise DatabaseUnavailable
