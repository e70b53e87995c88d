"""What goes over HTTP: bodies and answers, in camelCase; moments of messages in Unix milliseconds, as in frames."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from teahouse.clock import to_datetime
from teahouse.messages.model import CLIENT_ID, Kind, Membership, Message, Room, RoomRole, address_for
from teahouse.problems import MalformedJson

MAX_MEMBERS_NAMED = 200
# Beyond this a client written in JavaScript cannot tell whole numbers apart.
_MAX_SEQ = 2**53

Id = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", description="32 hex characters")]
# "$" alone would let a line break follow.
ClientId = Annotated[
    str, Meta(pattern=rf"^{CLIENT_ID.pattern}$(?!\n)", description="the client's own, new for each message")
]
Address = Annotated[
    str, Meta(pattern=r"^(user|room):[0-9a-f]{32}$(?!\n)", description="user: or room: and 32 hex characters")
]
_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
RoomName = Annotated[
    str,
    Meta(
        pattern=rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$",
        max_length=64,
        description="without control characters; space around it is dropped",
    ),
]
Seq = Annotated[int, Meta(ge=0, le=_MAX_SEQ)]


class RoomBody(msgspec.Struct, forbid_unknown_fields=True):
    """A room that the caller owns; ``members`` are users' ids."""

    name: RoomName
    members: Annotated[list[Id], Meta(max_length=MAX_MEMBERS_NAMED)] = []


class MembersBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Who comes in."""

    user_ids: Annotated[list[Id], Meta(min_length=1, max_length=MAX_MEMBERS_NAMED)]


class MessageBody(msgspec.Struct, forbid_unknown_fields=True):
    """A message, as in a frame: ``content`` is any JSON value, kept as it was written."""

    type: Kind
    id: ClientId
    to: Address
    content: msgspec.Raw


class ReadBody(msgspec.Struct, forbid_unknown_fields=True):
    """Everything up to ``seq`` has been read."""

    seq: Seq


class RoomView(msgspec.Struct, rename="camel"):
    """A room as one of its members sees it: of its messages up to ``lastSeq`` they have read those up to
    ``readSeq``.
    """

    id: str
    name: str
    role: RoomRole
    created_at: datetime
    last_seq: int
    read_seq: int
    unread: int


class RoomList(msgspec.Struct, rename="camel"):
    """One page; ``nextCursor`` is null on the last."""

    items: list[RoomView]
    next_cursor: str | None


class DirectView(msgspec.Struct, rename="camel"):
    """What two people have said to each other, as one of them sees it; ``userId`` is the other one."""

    user_id: str
    last_seq: int
    read_seq: int
    unread: int


class DirectList(msgspec.Struct, rename="camel"):
    """One page; ``nextCursor`` is null on the last."""

    items: list[DirectView]
    next_cursor: str | None


class MemberView(msgspec.Struct, rename="camel"):
    """Somebody in a room."""

    user_id: str
    role: RoomRole


class MemberList(msgspec.Struct, rename="camel"):
    """One page, by id; ``nextCursor`` is null on the last."""

    items: list[MemberView]
    next_cursor: str | None


class AddedView(msgspec.Struct):
    """Those who were not in the room before."""

    added: list[str]


class MessageView(msgspec.Struct, rename="camel"):
    """A message as its frame has it: ``id`` is its sender's, ``timestamp`` in Unix milliseconds."""

    type: Kind
    id: str
    to: str
    seq: int
    sender_id: str
    content: msgspec.Raw
    timestamp: int


class MessageList(msgspec.Struct, rename="camel"):
    """One page; ``nextCursor`` is the ``before`` of the next, null on the last."""

    items: list[MessageView]
    next_cursor: str | None


class SentView(msgspec.Struct):
    """The message is stored; the same each time it is sent again."""

    id: str
    to: str
    seq: int
    timestamp: int


class ReadView(msgspec.Struct):
    """The position that holds: it never goes back, nor beyond the last message."""

    seq: int


def content_of(body: MessageBody) -> str:
    """The content as JSON text. Raises ``MalformedJson``."""
    raw = bytes(body.content)
    try:
        # What is only passed over while it is decoded has not been looked at closely.
        msgspec.json.decode(raw)
        return raw.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJson(f"content: {error}") from error


def view_room(room: Room, membership: Membership) -> RoomView:
    """A room as one of its members sees it."""
    return RoomView(
        room.id,
        room.name,
        membership.role,
        to_datetime(room.created_at),
        membership.last_seq,
        membership.read_seq,
        membership.unread,
    )


def view_direct(caller_id: str, part: Membership) -> DirectView:
    """A direct conversation as one of its two people sees it."""
    other = address_for(caller_id, part.conversation).removeprefix("user:")
    return DirectView(other, part.last_seq, part.read_seq, part.unread)


def view_message(message: Message) -> MessageView:
    """A message as its readers see it; a direct one is ``to`` its receiver, for both people."""
    to = address_for(message.sender_id, message.conversation)
    content = msgspec.Raw(message.content.encode())
    return MessageView(message.kind, message.id, to, message.seq, message.sender_id, content, message.timestamp)


def view_sent(message: Message) -> SentView:
    """A message as its sender is told that it is stored."""
    to = address_for(message.sender_id, message.conversation)
    return SentView(message.id, to, message.seq, message.timestamp)
