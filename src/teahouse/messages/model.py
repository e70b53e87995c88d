"""Messages, conversations and rooms: types and pure rules, no I/O."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Literal

import msgspec

from teahouse.problems import NotFound, ValidationFailed

Kind = Literal["text", "image", "file", "custom"]
RoomRole = Literal["owner", "member"]

# What a client calls a message of its own: printable ASCII.
CLIENT_ID = re.compile(r"[!-~]{1,64}")
MAX_ADDRESS_LENGTH = 69
_ADDRESS = re.compile(r"(user|room):([0-9a-f]{32})")


class Draft(msgspec.Struct, frozen=True, gc=False):
    """What somebody wants to say. ``content`` is JSON text as the client wrote it; ``id`` is the client's.

    ``conversation`` as ``conversation_of`` names it.
    """

    sender_id: str
    id: str
    conversation: str
    kind: Kind
    content: str


class Message(msgspec.Struct, frozen=True, gc=False):
    """A stored message. ``seq`` rises by one in its conversation, from 1; ``timestamp`` in Unix milliseconds."""

    conversation: str
    seq: int
    sender_id: str
    id: str
    kind: Kind
    content: str
    timestamp: int


class Room(msgspec.Struct, frozen=True):
    """A conversation with a name and members."""

    id: str
    name: str
    created_by: str
    created_at: int


class Membership(msgspec.Struct, frozen=True, gc=False):
    """Somebody's part in a conversation: of its messages up to ``last_seq`` they have read those up to ``read_seq``.
    Who says something has read what was said before. What is above ``joined_seq`` was said since they came.
    """

    conversation: str
    role: RoomRole
    last_seq: int
    read_seq: int
    joined_seq: int

    @property
    def unread(self) -> int:
        """How many messages came since."""
        return max(0, self.last_seq - self.read_seq)


class Parts(msgspec.Struct, frozen=True, gc=False):
    """Of the ``count`` conversations that somebody takes part in, those that come ``first``."""

    first: list[Membership]
    count: int


class Extent(msgspec.Struct, frozen=True, gc=False):
    """How many of somebody's ``conversations`` are delivered to them as they go on: all, or the ``following``."""

    following: int
    conversations: int


class ReadMark(msgspec.Struct, frozen=True, gc=False):
    """Somebody has read the conversation up to ``seq``."""

    user_id: str
    conversation: str
    seq: int


def same_value(one: str, other: str) -> bool:
    """Whether two JSON texts are one value, however they are written: escapes, space and the order of names do not
    matter, and numbers are equal where they are exactly. Costs time in proportion to the texts.
    """
    try:
        return bool(_exactly(one) == _exactly(other))
    except (ValueError, ArithmeticError, RecursionError):
        # A number of thousands of digits, or a nesting deeper than this follows: another text is another value then.
        return False


def _exactly(text: str) -> Any:
    return json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_named)


def _named(pairs: list[tuple[str, Any]]) -> Any:
    # Where a name comes twice, what it means is up to the reader: the pairs are compared as they come.
    names = dict(pairs)
    return names if len(names) == len(pairs) else tuple(pairs)


class _Number:
    """A number of a JSON text: not true and not false, which are equal to 1 and 0 here and nowhere else."""

    __slots__ = ("value",)

    def __init__(self, text: str) -> None:
        self.value = Decimal(text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


def conversation_of(caller_id: str, to: str) -> str:
    """The conversation that the caller means by ``user:<id>`` or ``room:<id>``.

    One name for both sides of a direct conversation: ``user:<smaller id>:<larger id>``. Raises ``NotFound`` for what
    names nobody, ``ValidationFailed`` for oneself.
    """
    found = _ADDRESS.fullmatch(to)
    if found is None:
        raise NotFound("to: expected user:<id> or room:<id>.")
    kind, other = found.groups()
    if kind == "room":
        return to
    if other == caller_id:
        raise ValidationFailed("to: this is you.")
    first, second = sorted((caller_id, other))
    return f"user:{first}:{second}"


def address_for(reader_id: str, conversation: str) -> str:
    """What the reader calls the conversation: the room, or the other person."""
    if conversation.startswith("room:"):
        return conversation
    _, first, second = conversation.split(":")
    return f"user:{second if first == reader_id else first}"


def people_of(conversation: str) -> tuple[str, str] | None:
    """The two people of a direct conversation; None for a room."""
    if conversation.startswith("room:"):
        return None
    _, first, second = conversation.split(":")
    return first, second
