"""How to speak with each server: what is sent to come in, to join a room and to say something, and what comes back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from bench.failures import BenchFailed


class Person(NamedTuple):
    """Somebody with a token that the server takes."""

    id: str
    token: str


class Kind(Enum):
    """What a server may say."""

    ENTERED = "one step of coming in is done"
    DELIVERED = "somebody's message"
    ACKNOWLEDGED = "one's own message is taken"
    PING = "a question for a sign of life"


class Event(NamedTuple):
    """``about``: a message's content, or the number of one's own."""

    kind: Kind
    about: str = ""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One server's protocol. ``say`` takes a number, a room and the content, which is JSON already.

    ``hello`` and ``join`` are answered with an ENTERED each; a server without ``hello`` welcomes by itself.
    """

    path: str
    say: Callable[[int, str, bytes], bytes]
    read: Callable[[bytes], Iterator[Event]]
    hello: Callable[[Person], bytes] | None = None
    join: Callable[[str], bytes] | None = None
    speaker_joins: bool = True
    pong: bytes | None = None
    """The answer to a PING that is a message of the protocol's own."""

    def entry(self, person: Person, room: str | None, *, speaks: bool) -> list[bytes]:
        """What is sent after the upgrade."""
        frames = [self.hello(person)] if self.hello else []
        if self.join and room and (self.speaker_joins or not speaks):
            frames.append(self.join(room))
        return frames

    def steps(self, frames: list[bytes]) -> int:
        """How many ENTERED come when these were sent."""
        return len(frames) + (self.hello is None)


# --- Teahouse, and the hubs that speak like it ------------------------------------------------------------------------


class _Said(msgspec.Struct, gc=False):
    type: str
    id: str = ""
    content: Any = None


_decode = msgspec.json.Decoder(_Said).decode
_KINDS = {"welcome": Kind.ENTERED, "joined": Kind.ENTERED, "text": Kind.DELIVERED, "ack": Kind.ACKNOWLEDGED}


def _read(payload: bytes) -> Iterator[Event]:
    said = _decode(payload)
    kind = _KINDS.get(said.type)
    if kind is None:
        raise BenchFailed(f"a server said {payload[:300].decode(errors='replace')}")
    yield Event(kind, said.content if kind is Kind.DELIVERED else said.id)


def _say(number: int, room: str, content: bytes) -> bytes:
    return b'{"type":"text","id":"%d","to":"room:%b","content":%b}' % (number, room.encode(), content)


TEAHOUSE = Dialect("/message", _say, _read)
HUB = Dialect("/message", _say, _read, join=lambda room: b'{"type":"join","to":"room:%b"}' % room.encode())


# --- Centrifugo's own: several JSON texts in one frame, an empty one is a ping ----------------------------------------


class _Publication(msgspec.Struct, gc=False):
    data: Any = None


class _Push(msgspec.Struct, gc=False):
    pub: _Publication | None = None


class _Reply(msgspec.Struct, gc=False):
    id: int = 0
    connect: Any = None
    subscribe: Any = None
    publish: Any = None
    push: _Push | None = None


_decode_reply = msgspec.json.Decoder(_Reply).decode
# Commands have numbers: those of coming in are below those of messages.
_HELLO, _JOIN, _FIRST = 1, 2, 3


def _read_replies(payload: bytes) -> Iterator[Event]:
    for line in payload.split(b"\n"):
        if line == b"{}":
            yield Event(Kind.PING)
        elif line:
            yield _event(_decode_reply(line), line)


def _event(reply: _Reply, line: bytes) -> Event:
    if reply.push is not None and reply.push.pub is not None:
        return Event(Kind.DELIVERED, reply.push.pub.data)
    if reply.publish is not None:
        return Event(Kind.ACKNOWLEDGED, str(reply.id - _FIRST))
    if reply.connect is not None or reply.subscribe is not None:
        return Event(Kind.ENTERED)
    raise BenchFailed(f"a server said {line[:300].decode(errors='replace')}")


CENTRIFUGO = Dialect(
    "/connection/websocket",
    lambda number, room, content: (
        b'{"id":%d,"publish":{"channel":"room:%b","data":%b}}' % (number + _FIRST, room.encode(), content)
    ),
    _read_replies,
    hello=lambda person: b'{"id":%d,"connect":{"token":"%b"}}' % (_HELLO, person.token.encode()),
    join=lambda room: b'{"id":%d,"subscribe":{"channel":"room:%b"}}' % (_JOIN, room.encode()),
    # Whoever publishes without a subscription gets an answer and not their own message, as with the others.
    speaker_joins=False,
    pong=b"{}",
)
