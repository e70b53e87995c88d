"""How a session lies in Redis, and the scripts that change it, each of one key and in one step.

A session is a hash at ``session:<id>`` with a field for each of ``Session``'s that is not None, and a ``version`` that
every change but that of ``last_seen_at`` raises. It expires by itself a while after it is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from teahouse.accounts.model import Session
from teahouse.engines.redis import Script

ENDED = "teahouse:ended-sessions"
# Since when ends have been kept without a gap.
KEPT_SINCE = "teahouse:ends-kept-since"
_NUMBERS = frozenset({"created_at", "last_seen_at", "ends_at", "rotated_at", "ended_at"})
_BINARY = "sealed_successor"
_CHANGING = ("last_seen_at", "token_hash", "previous_hash", "rotated_at", "sealed_successor", "ended_at")

# ARGV: life in ms, fields and values.
OPEN = Script("""
redis.call('HSET', KEYS[1], 'version', 1, unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
""")

# Compare and set. ARGV: the version that was read, life in ms, last_seen_at, fields, values. 0: somebody was quicker.
KEEP = Script("""
local kept = redis.call('HMGET', KEYS[1], 'version', 'last_seen_at')
if kept[1] ~= ARGV[1] then return 0 end
if #ARGV > 3 then redis.call('HSET', KEYS[1], unpack(ARGV, 4)) end
if tonumber(kept[2]) < tonumber(ARGV[3]) then redis.call('HSET', KEYS[1], 'last_seen_at', ARGV[3]) end
redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
""")

# ARGV: whose (empty: anybody's), the moment, life in ms. 0: no such session; 1: it had ended before; 2: it ends now.
END = Script("""
local kept = redis.call('HMGET', KEYS[1], 'user_id', 'ended_at')
if not kept[1] or (ARGV[1] ~= '' and kept[1] ~= ARGV[1]) then return 0 end
if kept[2] then return 1 end
redis.call('HSET', KEYS[1], 'ended_at', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 2
""")

# ARGV: the moment, the idle time and the time after a session's end, in ms.
TOUCH = Script("""
local kept = redis.call('HMGET', KEYS[1], 'last_seen_at', 'ends_at', 'ended_at')
local moment = tonumber(ARGV[1])
if not kept[1] or kept[3] or tonumber(kept[1]) >= moment then return 0 end
redis.call('HSET', KEYS[1], 'last_seen_at', ARGV[1])
local left = math.max(0, math.min(tonumber(ARGV[2]), tonumber(kept[2]) - moment))
redis.call('PEXPIRE', KEYS[1], left + tonumber(ARGV[3]))
return 1
""")

# KEYS: the user's index. ARGV: the most it may have, its life in ms, scores and ids. All ids where there are too many.
JOIN = Script("""
redis.call('ZADD', KEYS[1], unpack(ARGV, 3))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if redis.call('ZCARD', KEYS[1]) <= tonumber(ARGV[1]) then return {} end
return redis.call('ZRANGE', KEYS[1], 0, -1)
""")

# KEYS: the ended sessions. ARGV: the feed's channel, how long to keep an end in ms, ids. Each end is kept and told in
# one step, so that whoever finds it kept knows that it was told. Moments are the server's, whatever clocks nodes have.
ANNOUNCE = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local told = 0
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
for index = 3, #ARGV do
  if not redis.call('ZSCORE', KEYS[1], ARGV[index]) then
    redis.call('ZADD', KEYS[1], now, ARGV[index])
    redis.call('PUBLISH', ARGV[1], string.format('session-ended %s %.0f', ARGV[index], now))
    told = told + 1
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return told
""")

# KEYS: since when ends have been kept. ARGV: 1 where there may have been ends before, which are lost now. How long they
# have been kept in ms, by the server's clock; -1: there never were others.
KEPT = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since = redis.call('GET', KEYS[1])
if not since then
  since = ARGV[1] == '1' and string.format('%.0f', now) or '-1'
  redis.call('SET', KEYS[1], since)
end
if since == '-1' then return -1 end
return now - since
""")

# KEYS: the ended sessions. ARGV: how far back in ms. Ids, each with its age in ms.
RECENT = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('ZRANGEBYSCORE', KEYS[1], now - ARGV[1], '+inf', 'WITHSCORES')
for index = 2, #found, 2 do found[index] = now - found[index] end
return found
""")


Argument = str | int | bytes


class Stored(NamedTuple):
    """A session, and which of its versions this is."""

    session: Session
    version: bytes


def key(session_id: str) -> str:
    """Where the session lies."""
    return f"session:{session_id}"


def index(user_id: str) -> str:
    """Where the ids of a user's sessions lie: all that nobody has ended, and perhaps some that are over."""
    return f"teahouse:sessions:{user_id}"


def fields(session: Session) -> list[Argument]:
    """Every field and its value, one after the other."""
    return list(_flat(session, Session.__struct_fields__))


def changes(session: Session) -> list[Argument]:
    """The fields that may have changed since the session was read, but not ``last_seen_at``."""
    return list(_flat(session, _CHANGING[1:]))


def read(reply: Sequence[bytes]) -> Stored | None:
    """What HGETALL says; None where there is no such session."""
    if not reply:
        return None
    values: dict[str, Any] = {}
    for name, value in zip(reply[::2], reply[1::2], strict=True):
        field = name.decode()
        if field == _BINARY:
            values[field] = value
        else:
            values[field] = int(value) if field in _NUMBERS else value.decode()
    version = values.pop("version")
    return Stored(msgspec.convert(values, Session), version.encode())


def _flat(session: Session, names: Sequence[str]) -> Iterator[Argument]:
    for name in names:
        value = getattr(session, name)
        if value is not None:
            yield name
            yield value
