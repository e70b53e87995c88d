"""The ledger's log in Redis: one stream a shard, read by one consumer group (https://redis.io/docs/latest/develop/data-types/streams/)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import ResponseError

from teahouse.clock import Clock
from teahouse.engines.redis import Redis, Script
from teahouse.sales import keys_redis as keys
from teahouse.sales.archive import Archive, Entry, Refused
from teahouse.sales.model import Tally
from teahouse.sales.recorder import ORDERS_AT_ONCE
from teahouse.sales.scripts_redis import Scripts
from teahouse.sales.stock import CLOSE_AFTER_MS

LEASE_MS = 3000
# Of one reading: so many that about a transaction's orders come, for a long reply holds up the loop.
_FEWEST_ENTRIES, _MOST_ENTRIES = 8, 512
_TIDY_SECONDS = 2.0
_SALES_AT_ONCE = 100
_NOTHING = Tally(0, 0, 0, 0)
# The lease belongs to whoever wrote its name there; another must wait until it runs out. 2: it was free.
_LEAD = Script(
    "local holder = redis.call('GET', KEYS[1]) "
    "if holder and holder ~= ARGV[1] then return 0 end "
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return holder and 1 or 2"
)
_REFUSED, _RENEWED = 0, 1
_RESIGN = Script("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")


class RedisBacklog:
    """A ``Backlog``. ``worker`` names this worker among all of them."""

    def __init__(
        self, redis: Redis, scripts: Scripts, archive: Archive, *, worker: str, clock: Clock, timed: bool
    ) -> None:
        self.waiting = 0
        self.oldest_seconds = 0.0
        self._redis = redis
        self._scripts = scripts
        self._archive = archive
        self._worker = worker
        self._clock = clock
        self._timed = timed
        self._fresh = False
        self._unfinished: set[str] = set()
        self._at_once = _FEWEST_ENTRIES
        self._incarnation = ""
        self._tidy_at = 0.0
        self._tidied: str | None = None

    async def lead(self) -> bool:
        """See ``Backlog``."""
        led = await self._redis.run(_LEAD, (keys.RECORDER_LEASE,), (self._worker, LEASE_MS))
        if led != _RENEWED or self._incarnation != self._redis.incarnation:
            # Somebody else may have taken entries meanwhile: begin with what is pending.
            self._fresh = False
            self._incarnation = self._redis.incarnation
        return bool(led != _REFUSED)

    async def resign(self) -> None:
        """See ``Backlog``."""
        self._fresh = False
        await self._redis.run(_RESIGN, (keys.RECORDER_LEASE,), (self._worker,))

    async def take(self) -> list[tuple[str, Entry]]:
        """See ``Backlog``."""
        if self._unfinished:
            # Something came between: it is pending, and comes first again.
            self._fresh = False
            self._unfinished.clear()
        try:
            taken = await self._next()
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            # Redis has lost the log with its group.
            self._fresh = False
            taken = await self._next()
        self._unfinished = {entry.id for _, entry in taken}
        if taken:
            size = max(1, sum(entry.count for _, entry in taken) // len(taken))
            self._at_once = min(max(ORDERS_AT_ONCE // size, _FEWEST_ENTRIES), _MOST_ENTRIES)
        await self.count()
        self.oldest_seconds = (self._clock.now_ms() - min(entry.at for _, entry in taken)) / 1000 if taken else 0.0
        return taken

    async def _next(self) -> list[tuple[str, Entry]]:
        if not self._fresh:
            await asyncio.gather(*(self._make_group(shard) for shard in keys.SHARDS))
            pending = await self._read_all(self._claim)
            if pending:
                return pending
            self._fresh = True
        return await self._read_all(self._read)

    async def finish(self, taken: Sequence[tuple[str, Entry]]) -> None:
        """See ``Backlog``."""
        by_shard: dict[str, list[tuple[str, int]]] = {}
        for shard, entry in taken:
            by_shard.setdefault(shard, []).append((entry.id, entry.count))
        await asyncio.gather(*(self._scripts.recorded(shard, each) for shard, each in by_shard.items()))
        self._unfinished.difference_update(entry.id for _, entry in taken)

    async def set_aside(self, shard: str, refused: Sequence[Refused]) -> None:
        """See ``Backlog``."""
        fields = [value for each in refused for value in (each.id, f"{each.reason}\n{each.row}")]
        await self._redis.ask("HSET", keys.set_aside_key(shard), *fields)

    async def tidy(self) -> None:
        """See ``Backlog``."""
        if time.monotonic() < self._tidy_at:
            return
        self._tidy_at = time.monotonic() + _TIDY_SECONDS
        now = self._clock.now_ms() if self._timed else 0
        await asyncio.gather(*(self._scripts.sweep(shard, now) for shard in keys.SHARDS))
        looked_at = await self._archive.newest(before=self._tidied, limit=_SALES_AT_ONCE)
        for archived in looked_at:
            if archived.seq >= 0 and not archived.tally.reserved:
                await self._scripts.close(archived.sale.id, now, archived.seq, CLOSE_AFTER_MS)
        # The older ones next time, and the newest again when all have been looked at.
        self._tidied = looked_at[-1].sale.id if len(looked_at) == _SALES_AT_ONCE else None

    async def newest(self) -> dict[str, str]:
        """By shard, the last entry of each log that has one."""
        found = await asyncio.gather(
            *(self._redis.ask("XREVRANGE", keys.log_key(shard), "+", "-", "COUNT", 1) for shard in keys.SHARDS)
        )
        return {shard: entries[0][0].decode() for shard, entries in zip(keys.SHARDS, found, strict=True) if entries}

    async def has_left(self, newest: Mapping[str, str]) -> bool:
        """Whether all up to these entries has been recorded, however much has been logged since."""
        found = await asyncio.gather(
            *(self._redis.ask("XRANGE", keys.log_key(shard), "-", entry, "COUNT", 1) for shard, entry in newest.items())
        )
        return not any(found)

    async def count(self) -> int:
        """How many orders and payments wait to be recorded; for /metrics."""
        waiting = await asyncio.gather(*(self._redis.ask("GET", keys.unrecorded_key(shard)) for shard in keys.SHARDS))
        self.waiting = sum(int(each or 0) for each in waiting)
        return self.waiting

    async def _make_group(self, shard: str) -> None:
        try:
            await self._redis.ask("XGROUP", "CREATE", keys.log_key(shard), keys.GROUP, "0", "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _read_all(self, read: Any) -> list[tuple[str, Entry]]:
        found = await asyncio.gather(*(read(shard) for shard in keys.SHARDS))
        return [(shard, entry) for shard, entries in zip(keys.SHARDS, found, strict=True) for entry in entries]

    async def _read(self, shard: str) -> list[Entry]:
        reply = await self._redis.ask(
            "XREADGROUP",
            "GROUP",
            keys.GROUP,
            self._worker,
            "COUNT",
            self._at_once,
            "STREAMS",
            keys.log_key(shard),
            ">",
        )
        return _entries(reply[0][1]) if reply else []

    async def _claim(self, shard: str) -> list[Entry]:
        # Whoever holds the lease is the only recorder: what anybody else took is this one's now.
        reply = await self._redis.ask(
            "XAUTOCLAIM", keys.log_key(shard), keys.GROUP, self._worker, 0, "0", "COUNT", self._at_once
        )
        return _entries(reply[1])


def _entries(found: Sequence[Any]) -> list[Entry]:
    return [entry_of(entry_id, fields) for entry_id, fields in found if fields]


def entry_of(entry_id: bytes, fields: Sequence[bytes]) -> Entry:
    """An entry of the stream, as ``lua/rows.lua`` wrote it. From another hand it is one that no archive takes."""
    try:
        return _entry(entry_id, fields)
    except (KeyError, TypeError, ValueError):
        unreadable = repr(fields)
        return Entry(entry_id.decode(), "", 0, int(entry_id.partition(b"-")[0]), _NOTHING, 0, unreadable, "")


def _entry(entry_id: bytes, fields: Sequence[bytes]) -> Entry:
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    tally = [int(each) for each in named[b"tally"].split(b",") if each]
    return Entry(
        id=entry_id.decode(),
        sale_id=named[b"sale"].decode(),
        seq=int(named[b"seq"]),
        at=int(named[b"at"]),
        tally=Tally(*tally) if tally else _NOTHING,
        count=int(named[b"count"]),
        orders=named[b"orders"].decode(),
        payments=named[b"payments"].decode(),
    )
