"""The frames of the contract: what clients send, decoded and checked; what they are sent, as UTF-8 JSON."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from teahouse.messages.model import CLIENT_ID, MAX_ADDRESS_LENGTH, Extent, Kind, Message, address_for
from teahouse.problems import MalformedJson, Problem, ValidationFailed
from teahouse.web.body import field_error
from teahouse.web.response import problem_response

PATH = "/message"
# Beyond this a client written in JavaScript cannot tell whole numbers apart.
_MAX_SEQ = 2**53
_MAX_SYNCED = 100

ClientId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=rf"\A{CLIENT_ID.pattern}\Z")]
Address = Annotated[
    str, msgspec.Meta(max_length=MAX_ADDRESS_LENGTH, pattern=r"\A(user|room):[0-9a-f]{32}\Z", examples=["user:<id>"])
]
Seq = Annotated[int, msgspec.Meta(ge=0, le=_MAX_SEQ)]


class Said(msgspec.Struct, frozen=True, gc=False, tag_field="type"):
    """A message that the client wants stored. ``content`` is any JSON value, kept as it was written."""

    id: ClientId
    to: Address
    content: msgspec.Raw


class Text(Said, frozen=True, gc=False, tag="text"):
    """Words."""


class Image(Said, frozen=True, gc=False, tag="image"):
    """A picture: where it is."""


class File(Said, frozen=True, gc=False, tag="file"):
    """A file: where it is."""


class Custom(Said, frozen=True, gc=False, tag="custom"):
    """Whatever the app makes of it."""


class Sync(msgspec.Struct, frozen=True, tag_field="type", tag="sync"):
    """What was missed in each of these conversations since the ``seq`` beside it?"""

    after: Annotated[dict[Address, Seq], msgspec.Meta(min_length=1, max_length=_MAX_SYNCED)]
    id: ClientId | None = None


class Read(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="read"):
    """The client's user has read the conversation up to ``seq``."""

    to: Address
    seq: Seq
    id: ClientId | None = None


class Presence(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="presence"):
    """Who of the conversation is there?"""

    to: Address
    id: ClientId | None = None


class Ping(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="ping"):
    """Is anybody there? For clients that cannot send a ping of the protocol, as in browsers."""

    id: ClientId | None = None


Inbound = Text | Image | File | Custom | Sync | Read | Presence | Ping

KINDS: dict[type[Said], Kind] = {Text: "text", Image: "image", File: "file", Custom: "custom"}


class _Named(msgspec.Struct, gc=False):
    id: Any = None


_decoder: msgspec.json.Decoder[Inbound] = msgspec.json.Decoder(Inbound)
_decode_named = msgspec.json.Decoder(_Named).decode
_encode = msgspec.json.Encoder().encode


def decode(text: str) -> Inbound:
    """The frame that a client wrote. Raises ``MalformedJson`` or ``ValidationFailed``.

    Fields that are not known are passed over: a newer client may send them.
    """
    try:
        frame = _decoder.decode(text)
    except msgspec.ValidationError as error:
        errors = [field_error(_without_anchors(str(error)))]
        raise ValidationFailed("The frame is not one that is understood here.", errors=errors) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedJson(f"The frame is not valid JSON: {error}") from error
    if isinstance(frame, Said):
        _check_content(frame.content)
    return frame


def _without_anchors(text: str) -> str:
    # Python's own, in which the pattern is told; elsewhere they are written so (ECMA-262).
    return text.replace(r"\\A", "^").replace(r"\\Z", "$")


def _check_content(content: msgspec.Raw) -> None:
    # While the frame is decoded its content is only passed over: a number that no receiver can hold is not found.
    try:
        msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedJson(f"content: {error}") from error


def id_in(text: str) -> str | None:
    """The client's id in a frame that could not be decoded, where it can be read."""
    try:
        found = _decode_named(text).id
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return found if isinstance(found, str) and CLIENT_ID.fullmatch(found) else None


# --- to the client ----------------------------------------------------------------------------------------------------


class _Welcome(msgspec.Struct, tag_field="type", tag="welcome", rename="camel"):
    """The first frame: from now on everything that is stored comes here. ``timestamp`` in Unix milliseconds. Where
    ``following`` is less than ``conversations`` it is what is said in so many of them; the others are told of by sync.
    """

    user_id: str
    node_id: str
    heartbeat_seconds: float
    timestamp: int
    following: int
    conversations: int


class _Ack(msgspec.Struct, gc=False, tag_field="type", tag="ack"):
    """The message is stored."""

    id: str
    to: str
    seq: int
    timestamp: int


class _Delivered(msgspec.Struct, gc=False, rename="camel"):
    """A message of somebody else, or of another socket of one's own; ``timestamp`` in Unix milliseconds."""

    type: Kind
    id: str
    to: str
    seq: int
    sender_id: str
    content: msgspec.Raw
    timestamp: int


class _Synced(msgspec.Struct, gc=False, tag_field="type", tag="synced"):
    """All that was missed has been sent, or an honest false."""

    to: str
    recovered: bool


class _Read(msgspec.Struct, gc=False, tag_field="type", tag="read", rename="camel"):
    """The user at another socket, or the other one of a direct conversation, has read up to ``seq``. In rooms nobody
    else is told.
    """

    to: str
    user_id: str
    seq: int


class _Presence(msgspec.Struct, gc=False, tag_field="type", tag="presence", rename="camel"):
    """Somebody is there, has come or has gone."""

    to: str
    user_id: str
    online: bool


class _System(msgspec.Struct, tag_field="type", tag="system"):
    """Something happened outside of conversations: an order was paid, the session ended."""

    event: str
    data: Any


class _Error(msgspec.Struct, tag_field="type", tag="error", rename="camel", omit_defaults=True):
    """A problem (RFC 9457) with the frame of that ``id``; ``retryAfter`` in seconds."""

    id: str | None
    problem: msgspec.Raw
    to: str | None = None
    retry_after: int | None = None


class _Pong(msgspec.Struct, tag_field="type", tag="pong", omit_defaults=True):
    """Somebody is; with the ``id`` that the ping had."""

    id: str | None = None


FROM_CLIENT = (Text, Image, File, Custom, Sync, Read, Presence, Ping)
TO_CLIENT = (_Welcome, _Ack, _Delivered, _Synced, _Read, _Presence, _System, _Error, _Pong)

PONG = _encode(_Pong())


def encode_pong(id: str) -> bytes:  # noqa: A002 - the frame's name
    """The answer to a ping with this id; ``PONG`` is the one to a ping without."""
    return _encode(_Pong(id))


def encode_welcome(user_id: str, node_id: str, heartbeat_seconds: float, timestamp: int, extent: Extent) -> bytes:
    """The first frame: from now on what is stored reaches this socket, as far as ``extent`` says. ``timestamp`` in
    Unix ms.
    """
    return _encode(_Welcome(user_id, node_id, heartbeat_seconds, timestamp, extent.following, extent.conversations))


def encode_ack(id: str, to: str, message: Message) -> bytes:  # noqa: A002 - the frame's name
    """The message is stored; ``id`` and ``to`` as its sender wrote them."""
    return _encode(_Ack(id, to, message.seq, message.timestamp))


def encode_message(message: Message) -> bytes:
    """The message as every receiver gets it: encode it once. A direct one is ``to`` its receiver, for both people."""
    to = address_for(message.sender_id, message.conversation)
    content = msgspec.Raw(message.content)
    return _encode(_Delivered(message.kind, message.id, to, message.seq, message.sender_id, content, message.timestamp))


def encode_synced(to: str, recovered: bool) -> bytes:  # noqa: FBT001 - the frame's field
    """All that was missed has been sent, or an honest false."""
    return _encode(_Synced(to, recovered))


def encode_read(to: str, user_id: str, seq: int) -> bytes:
    """The user has read the conversation up to ``seq``; ``to`` as the frame's receiver calls it."""
    return _encode(_Read(to, user_id, seq))


def encode_presence(to: str, user_id: str, online: bool) -> bytes:  # noqa: FBT001 - the frame's field
    """The user came or went; ``to`` as the frame's receiver calls the conversation."""
    return _encode(_Presence(to, user_id, online))


def encode_system(event: str, data: Any) -> bytes:
    """Something happened outside of conversations; ``data`` is anything that msgspec can encode."""
    return _encode(_System(event, data))


def encode_error(problem: Problem, id: str | None = None, to: str | None = None) -> bytes:  # noqa: A002 - as in the frame
    """A problem as HTTP would tell it, with the frame's id where it had one; ``to`` says which conversation of several
    is meant. ``retryAfter`` in seconds.
    """
    document = msgspec.Raw(problem_response(problem, PATH).body)
    retry_after = problem.headers.get("Retry-After")
    return _encode(_Error(id, document, to, None if retry_after is None else int(retry_after)))
