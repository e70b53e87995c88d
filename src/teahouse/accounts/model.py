"""Who somebody is, and what a session is: types and pure rules. Times are Unix milliseconds."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from enum import Enum
from hmac import compare_digest
from typing import Literal, NamedTuple

import msgspec

Role = Literal["user", "admin"]
Method = Literal["wechat", "password"]

DEVICE_LENGTH = 120


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person or an operator. ``avatar_url`` is empty where there is none."""

    id: str
    nickname: str
    role: Role
    created_at: int
    avatar_url: str = ""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent a request, as its verified access token says.

    ``role`` is what it was when the token was issued: a change of role takes effect with the next refresh, after
    ``access_token_seconds`` at the latest. ``issued_at`` and ``expires_at`` are Unix seconds.
    """

    user_id: str
    session_id: str
    role: Role
    issued_at: int
    expires_at: int


class Admin(Caller, frozen=True, kw_only=True):
    """A caller whose role is ``admin``; a handler that asks for one answers everybody else with 403."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One login on one device, from its first token to its end.

    ``family_hash`` belongs to every refresh token of the session, ``token_hash`` to the one that is good now and
    ``previous_hash`` to the one exchanged at ``rotated_at``, whose successor is kept sealed under the old token itself.
    """

    id: str
    user_id: str
    method: Method
    device: str
    created_at: int
    last_seen_at: int
    ends_at: int
    family_hash: str
    token_hash: str
    previous_hash: str | None = None
    rotated_at: int | None = None
    sealed_successor: bytes | None = None
    ended_at: int | None = None


class Limits(NamedTuple):
    """How long sessions last, in milliseconds."""

    idle: int
    longest: int
    grace: int


class Verdict(Enum):
    """What becomes of a presented refresh token."""

    ROTATE = "the token is good: exchange it"
    REPEAT = "the token was exchanged a moment ago: give the same successor"
    REUSED = "the token was exchanged long ago: somebody holds a copy"
    UNKNOWN = "no token of this session"
    ENDED = "the session has been ended"
    EXPIRED = "the session ran out"


class Presented(NamedTuple):
    """The hashes of a refresh token somebody sent."""

    family_hash: str
    token_hash: str


def expired(session: Session, now: int, idle: int) -> bool:
    """True when the session was idle for ``idle`` milliseconds or has reached its longest life."""
    return now >= min(session.last_seen_at + idle, session.ends_at)


def judge(session: Session, presented: Presented, now: int, limits: Limits) -> Verdict:
    """What becomes of a refresh token presented at ``now``.

    Only the token exchanged last has a grace. One that is older, or whose grace is over, was copied: a client that
    follows the protocol has had its successor for a long time.
    """
    if not compare_digest(session.family_hash, presented.family_hash):
        return Verdict.UNKNOWN
    if session.ended_at is not None:
        return Verdict.ENDED
    if expired(session, now, limits.idle):
        return Verdict.EXPIRED
    if compare_digest(session.token_hash, presented.token_hash):
        return Verdict.ROTATE
    if _in_grace(session, now, limits.grace) and compare_digest(session.previous_hash or "", presented.token_hash):
        return Verdict.REPEAT
    return Verdict.REUSED


def surplus(live: Iterable[Session], most: int) -> list[Session]:
    """The sessions beyond ``most``, which must end: those used longest ago."""
    latest_first = sorted(
        live, key=lambda session: (session.last_seen_at, session.created_at, session.id), reverse=True
    )
    return latest_first[most:]


def device_label(user_agent: str | None) -> str:
    """A User-Agent as it may be shown in a list of devices: printable, single spaces, bounded."""
    text = "".join(sign if sign.isprintable() else " " for sign in (user_agent or "")[: 4 * DEVICE_LENGTH])
    return " ".join(text.split())[:DEVICE_LENGTH]


def network_of(address: str) -> str:
    """What counts as one place for limits: an IPv4 address, or an IPv6 /64, which is what one customer is given.

    Anything else, such as a Unix socket, is one place as it is.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _in_grace(session: Session, now: int, grace: int) -> bool:
    return session.rotated_at is not None and now - session.rotated_at <= grace
