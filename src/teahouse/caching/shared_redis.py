"""The shared layer in Redis: ``teahouse:cache:<name>:<key>`` holds a value, its absence, a lease or a tombstone.

- A tombstone is the one byte ``T``, which every release understands.
- Everything else begins with a stamp: the format's version, and a digest of what a reader must agree on with the
  writer, which is the value's type down to its fields, and the run of the Redis server. What has another stamp is
  replaced by a lease, so a release never misreads another's entry, and a server that came back with less than it had
  told cannot answer with what it had forgotten to forget.
- Then ``L`` and the lease's name, ``N`` for a key with nothing behind it, or ``V`` and the value as MessagePack.

One key is one script call, so a Cluster needs no hash tag; the calls of one moment leave as one pipeline.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from redis.exceptions import ResponseError

from teahouse.batching import Batcher
from teahouse.caching.local import MISSING, Missing
from teahouse.caching.shared import Held
from teahouse.clock import Clock
from teahouse.engines.redis import Redis, Script
from teahouse.engines.redis_feed import Feed
from teahouse.problems import OutcomeUnknown, Problem, RedisUnavailable

V = TypeVar("V")

_FORMAT = b"\x01"
_DIGEST_BYTES = 7
_STAMP_BYTES = len(_FORMAT) + _DIGEST_BYTES
_LEASE, _NOTHING, _VALUE = b"L", b"N", b"V"
# Longer than any load takes; who fills later does so in vain.
_LEASE_MS = 30_000
_MAX_FILLS = 10_000

_READ = Script("""
local held = redis.call('GET', KEYS[1])
if held == 'T' then
  return {held, 0}
end
if held and string.sub(held, 1, string.len(ARGV[1])) == ARGV[1] then
  return {held, redis.call('PTTL', KEYS[1])}
end
local lease = ARGV[1] .. ARGV[2]
redis.call('SET', KEYS[1], lease, 'PX', ARGV[3])
return {lease, 0}
""")

_FILL = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
""")

# Atomic, so that nobody hears of a change that a read does not see yet.
_CHANGE = Script("""
redis.call('SET', KEYS[1], 'T', 'PX', ARGV[1])
return redis.call('PUBLISH', ARGV[2], ARGV[3])
""")

_log = logging.getLogger(__name__)


class RedisCache(Generic[V]):
    """A ``SharedLayer`` of values of the type ``kind``, as msgspec knows it.

    ``version`` is raised by a release in which the same fields mean something else.
    """

    def __init__(self, redis: Redis, feed: Feed, kind: type[V], *, name: str, clock: Clock, version: int = 1) -> None:
        self.name = name
        self.fills: Batcher[tuple[str, bytes, bytes, int], None] = Batcher(
            self._fill_all, name=f"cache {name} fills", max_waiting=_MAX_FILLS
        )
        self._redis = redis
        self._feed = feed
        self._new_id = clock.new_id
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder: msgspec.msgpack.Decoder[V] = msgspec.msgpack.Decoder(kind)
        self._agreed = repr((version, msgspec.json.schema(kind))).encode()
        self._incarnation: str | None = None
        self._stamp = b""
        self._clear: Callable[[], None] = _nothing

    def listen(self, drop: Callable[[str], None], clear: Callable[[], None]) -> None:
        """See ``SharedLayer``."""

        def heard(text: str) -> None:
            name, _, key = text.partition(" ")
            if name == self.name:
                drop(key)

        async def caught_up() -> None:
            if not self._is_another():
                clear()

        self._clear = clear
        self._feed.on("cache", heard)
        self._feed.on_catch_up(caught_up)

    def hearing(self) -> bool:
        """See ``SharedLayer``."""
        return self._feed.current

    async def read(self, keys: Sequence[str]) -> Sequence[Held[V]]:
        """See ``SharedLayer``."""
        if not self._redis.connected or self._is_another():
            return [Held() for _ in keys]
        stamp, lease = self._stamp, _LEASE + self._new_id().encode()
        replies = await asyncio.gather(
            *(self._redis.run(_READ, [self._place(key)], [stamp, lease, _LEASE_MS]) for key in keys),
            return_exceptions=True,
        )
        return [self._held(reply) for reply in replies]

    def fill(self, key: str, lease: bytes, value: V | Missing, seconds: float) -> None:
        """See ``SharedLayer``."""
        stamp = lease[:_STAMP_BYTES]
        kept = stamp + _NOTHING if value is MISSING else stamp + _VALUE + self._encode(value)
        try:
            filled = self.fills.submit((key, lease, kept, max(int(seconds * 1000), 1)))
        except Problem:
            # Too much at once, or the end: the next reader fills it.
            return
        filled.add_done_callback(_look)

    async def change(self, key: str, seconds: float) -> None:
        """See ``SharedLayer``."""
        message = f"cache {self.name} {key}"
        try:
            await self._redis.run(
                _CHANGE, [self._place(key)], [max(int(seconds * 1000), 1), self._feed.channel, message]
            )
        except ResponseError as error:
            raise RedisUnavailable(f"Redis answers: {str(error).partition(' ')[0]}") from error
        except asyncio.CancelledError as error:
            if _cancelled():
                raise
            # The connection's own work was cancelled, as at its end.
            raise OutcomeUnknown from error

    async def aclose(self) -> None:
        """See ``SharedLayer``."""
        await self.fills.aclose()

    def _place(self, key: str) -> str:
        return f"teahouse:cache:{self.name}:{key}"

    def _is_another(self) -> bool:
        """Whether the server is another than at the last read: it may have lost what it was told."""
        incarnation = self._redis.incarnation
        if incarnation == self._incarnation:
            return False
        digest = hashlib.blake2b(self._agreed + incarnation.encode(), digest_size=_DIGEST_BYTES).digest()
        self._incarnation, self._stamp = incarnation, _FORMAT + digest
        self._clear()
        return True

    def _held(self, reply: Any) -> Held[V]:
        if isinstance(reply, BaseException):
            return Held()
        held, milliseconds = reply
        sign = held[_STAMP_BYTES : _STAMP_BYTES + 1]
        if sign == _LEASE:
            return Held(lease=held)
        if sign == _NOTHING:
            return Held(MISSING, milliseconds / 1000)
        if sign != _VALUE:
            return Held()
        try:
            return Held(self._decoder.decode(held[_STAMP_BYTES + 1 :]), milliseconds / 1000)
        except msgspec.DecodeError:
            _log.warning("cache %s: an entry in Redis cannot be read", self.name)
            return Held()

    async def _fill_all(self, fills: list[tuple[str, bytes, bytes, int]]) -> Sequence[None]:
        # What comes to nothing is read from the database again, no more.
        await asyncio.gather(
            *(self._redis.run(_FILL, [self._place(key)], [lease, kept, life]) for key, lease, kept, life in fills),
            return_exceptions=True,
        )
        return [None] * len(fills)


def _nothing() -> None:
    """Nobody listens yet."""


def _look(filled: asyncio.Future[None]) -> None:
    # Otherwise asyncio complains of an error that nobody saw.
    if not filled.cancelled():
        filled.exception()


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
