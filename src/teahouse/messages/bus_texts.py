"""What nodes tell each other: MessagePack arrays, the kind first (https://github.com/msgpack/msgpack/blob/master/spec.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec


class Passed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="m"):
    """A stored message: ``frame`` is what every receiver is sent, ``origin`` the socket that sent it, or nothing."""

    origin: str
    conversation: str
    seq: Annotated[int, msgspec.Meta(ge=1)]
    frame: bytes


class ForPerson(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="f"):
    """A frame for all sockets of the topic's person."""

    frame: bytes


class Joined(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="j"):
    """The topic's person is in the conversation now."""

    conversation: str


class Left(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="l"):
    """The topic's person is not in the conversation any more."""

    conversation: str


class PresenceChanged(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="p"):
    """Whether this person of the topic's conversation is there may have changed: the presence knows."""

    user_id: str


class PresenceRestored(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="r"):
    """Anybody's presence may have changed."""


BusText = Passed | ForPerson | Joined | Left | PresenceChanged | PresenceRestored

encode: Callable[[BusText], bytes] = msgspec.msgpack.Encoder().encode
# Raises ``msgspec.MsgspecError``.
decode: Callable[[bytes], BusText] = msgspec.msgpack.Decoder(BusText).decode


def person_topic(user_id: str) -> str:
    """Where direct messages, frames for one person and changes of their memberships go."""
    return f"person:{user_id}"


def presence_topic(conversation: str) -> str:
    """Where it is told who of the conversation came and went; of no conversation, that anybody may have."""
    return f"presence:{conversation}"
