"""Redis against the archive: what each says of a sale, and how a sale that Redis lost is brought back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import msgspec

from teahouse.clock import Clock
from teahouse.engines.redis import Redis
from teahouse.problems import NotFound
from teahouse.sales import keys_redis as keys
from teahouse.sales.archive import SEQ_LEAP, Archive, Archived, Entry, OrderRow, Refused
from teahouse.sales.backlog_redis import entry_of
from teahouse.sales.model import PAID, RESERVED, Tally
from teahouse.sales.reconciliation import Audit, Difference
from teahouse.sales.scripts_redis import ROWS_AT_ONCE, Scripts
from teahouse.sales.stock import CLOSE_AFTER_MS

_LOOKS = 10
_LOOK_AGAIN_SECONDS = 0.05
_ENTRIES_AT_ONCE = 500
_SALES_AT_ONCE = 100
_MOVING_MS = 60_000
_WAIT_SECONDS = 0.2

_log = logging.getLogger(__name__)
_read_row = msgspec.json.Decoder(OrderRow).decode
_write_row = msgspec.json.Encoder().encode


class Ledgered(NamedTuple):
    """A sale's counters in Redis; ``lost`` where it is not to be trusted."""

    tally: Tally
    seq: int
    lost: bool


class Reconciliation:
    """Compares, explains and restores."""

    def __init__(self, redis: Redis, scripts: Scripts, archive: Archive, *, clock: Clock) -> None:
        self._redis = redis
        self._scripts = scripts
        self._archive = archive
        self._clock = clock

    async def audit(self, sale_id: str) -> Audit:
        """One sale: Redis, what waits to be recorded, and SQL's orders and payments. Raises ``NotFound``.

        They are two places that change all the time, so a difference counts when it is there at every look.
        """
        looks = 0
        while True:
            archived = await self._archive.audit(sale_id)
            if archived is None:
                raise NotFound("There is no such sale.")
            audit = await self._compared(archived.audit, archived.seq)
            if not audit.differences or (looks := looks + 1) == _LOOKS:
                return audit
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def compare(self, sale_id: str) -> list[Difference]:
        """Redis and the log against SQL's counters alone."""
        looks = 0
        while True:
            archived = (await self._archive.sales([sale_id]))[sale_id]
            audit = await self._compared(Audit(sale_id, archived.tally, 0, ()), archived.seq)
            if not audit.differences or (looks := looks + 1) == _LOOKS:
                return list(audit.differences)
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _compared(self, audit: Audit, seq: int) -> Audit:
        ledgered = await self._ledgered(audit.sale_id)
        if ledgered is None:
            return audit if seq < 0 else _lost(audit, "Redis does not know the sale")
        if ledgered.lost or ledgered.seq < seq:
            return _lost(audit, "Redis has lost a part of the sale")
        # Where nobody has written down that it was opened, it was all the same.
        seq = max(0, seq)
        if ledgered.seq == seq:
            return _side_by_side(audit, seq, ledgered, [])
        between = [entry for entry in await self._unrecorded(audit.sale_id) if seq < entry.seq <= ledgered.seq]
        return _side_by_side(audit, seq, ledgered, between)

    async def _ledgered(self, sale_id: str) -> Ledgered | None:
        names = ("initial", "remaining", "reserved", "sold", "seq", "lost")
        *counters, lost = await self._redis.ask("HMGET", keys.sale_key(sale_id), *names)
        if counters[4] is None:
            return None if lost is None else Ledgered(Tally(0, 0, 0, 0), 0, lost=True)
        return Ledgered(Tally(*(int(each) for each in counters[:4])), int(counters[4]), lost is not None)

    async def _unrecorded(self, sale_id: str) -> list[Entry]:
        """What the log holds of a sale, without its rows."""
        found: list[Entry] = []
        start = "-"
        while True:
            log = keys.log_key(keys.shard_of(sale_id))
            entries = await self._redis.ask("XRANGE", log, start, "+", "COUNT", _ENTRIES_AT_ONCE)
            for entry_id, fields in entries:
                entry = entry_of(entry_id, fields)
                if entry.sale_id == sale_id:
                    found.append(msgspec.structs.replace(entry, orders="", payments=""))
            if len(entries) < _ENTRIES_AT_ONCE:
                return found
            start = f"({entries[-1][0].decode()}"

    async def set_aside(self) -> list[Difference]:
        """What could not be recorded, on every shard."""
        return [Difference("set-aside", each.id, 0, each.reason) for _, each in await self.refused()]

    async def refused(self) -> list[tuple[str, Refused]]:
        """The same rows whole, each with its shard."""
        found = await asyncio.gather(*(self._redis.ask("HGETALL", keys.set_aside_key(shard)) for shard in keys.SHARDS))
        rows = []
        for shard, pairs in zip(keys.SHARDS, found, strict=True):
            for name, text in zip(pairs[::2], pairs[1::2], strict=True):
                reason, _, row = text.decode("utf-8", "replace").partition("\n")
                rows.append((shard, Refused(name.decode("utf-8", "replace"), row, reason)))
        return rows

    async def forget(self, shard: str, row_id: str) -> None:
        """A row that was set aside is dealt with."""
        await self._redis.ask("HDEL", keys.set_aside_key(shard), row_id)

    # --- bringing back ---

    async def stop_selling(self, sale_id: str) -> Ledgered | None:
        """Nothing of the sale is sold from now on, until it is restored. Returns how it was before."""
        before = await self._ledgered(sale_id)
        if before is not None:
            await self._redis.ask("HSET", keys.sale_key(sale_id), "lost", "1")
        return before

    async def restore(self, archived: Archived) -> None:
        """The sale in Redis as the archive has it. All that was logged of it must be recorded before.

        Nothing of it is sold meanwhile; a restore that breaks off leaves it so.
        """
        sale = archived.sale
        before = await self.stop_selling(sale.id)
        await self._redis.ask("UNLINK", keys.slots_key(sale.id), keys.bought_key(sale.id))
        reserved = sold = placed = 0
        held: dict[str, int] = {}
        async for rows in self._archive.orders_of(sale.id):
            for start in range(0, len(rows), ROWS_AT_ONCE):
                await self._put(sale.id, rows[start : start + ROWS_AT_ONCE], held)
            placed += len(rows)
            reserved += sum(row.quantity for row in rows if row.status == RESERVED)
            sold += sum(row.quantity for row in rows if row.status == PAID)
        tally = Tally(archived.tally.initial, archived.tally.initial - reserved - sold, reserved, sold)
        seq = max(archived.seq, before.seq if before else 0) + SEQ_LEAP
        await self._scripts.restore(sale, tally, seq, placed + SEQ_LEAP)
        await self._scripts.close(sale.id, self._clock.now_ms(), seq, CLOSE_AFTER_MS)
        _log.info("sale %s is restored from the archive: %s", sale.id, tally)

    async def _put(self, sale_id: str, rows: Sequence[OrderRow], held: dict[str, int]) -> None:
        shard = keys.shard_of(sale_id)
        slots = [value for row in rows for value in (f"{row.buyer_id} {row.key}", row.id)]
        live = [row for row in rows if row.status == RESERVED]
        final = [row.id for row in rows if row.status != RESERVED]
        buyers = set()
        for row in rows:
            if row.status in (RESERVED, PAID):
                held[row.buyer_id] = held.get(row.buyer_id, 0) + row.quantity
                buyers.add(row.buyer_id)
        known_here = await self._redis.ask("HMGET", keys.orders_key(shard), *(row.id for row in rows))
        live_here = sum(_read_row(each).status == RESERVED for each in known_here if each is not None)
        calls = [
            self._redis.ask("HSET", keys.slots_key(sale_id), *slots),
            self._redis.ask("INCRBY", keys.live_key(shard), len(live) - live_here),
        ]
        if live:
            known = [value for row in live for value in (row.id, _write_row(row))]
            calls.append(self._redis.ask("HSET", keys.orders_key(shard), *known))
            together: dict[int, str] = {}
            for row in live:
                together[row.pay_before] = together.get(row.pay_before, "") + row.id
            due = [value for moment, ids in together.items() for value in (moment, ids)]
            calls.append(self._redis.ask("ZADD", keys.due_key(shard), *due))
        if final:
            # What Redis took for live before, and is not any more, must not expire.
            calls.append(self._redis.ask("HDEL", keys.orders_key(shard), *final))
        if buyers:
            units = [value for buyer in buyers for value in (buyer, held[buyer])]
            calls.append(self._redis.ask("HSET", keys.bought_key(sale_id), *units))
        await asyncio.gather(*calls)

    async def take_over(self) -> None:
        """From a ledger in SQL: every sale comes to Redis, once, whichever node does it."""
        while await self._archive.keeper() != "redis":
            if await self._redis.ask("SET", keys.MOVING_LEASE, "1", "NX", "PX", _MOVING_MS) is None:
                await asyncio.sleep(_WAIT_SECONDS)
                continue
            try:
                await self._move_all()
                await self._archive.hand_over("redis")
            finally:
                await self._redis.ask("DEL", keys.MOVING_LEASE)

    async def _move_all(self) -> None:
        async for archived in self.every_sale():
            await self.restore(archived)
            await self._redis.ask("PEXPIRE", keys.MOVING_LEASE, _MOVING_MS)

    async def every_sale(self) -> AsyncIterator[Archived]:
        """Every sale of the archive, newest first."""
        before = None
        while found := await self._archive.newest(before=before, limit=_SALES_AT_ONCE):
            for archived in found:
                yield archived
            before = found[-1].sale.id


def _lost(audit: Audit, detail: str) -> Audit:
    lost = Difference("redis-lost", audit.sale_id, max(1, audit.tally.initial), detail)
    return msgspec.structs.replace(audit, differences=(*audit.differences, lost))


def _side_by_side(audit: Audit, seq: int, ledgered: Ledgered, between: Sequence[Entry]) -> Audit:
    tally = ledgered.tally
    latest = between[-1].tally if between else audit.tally
    ordered = audit.ordered + (tally.reserved + tally.sold) - (audit.tally.reserved + audit.tally.sold)
    found = list(audit.differences)
    apart = (
        abs(latest.remaining - tally.remaining) or abs(latest.sold - tally.sold) or abs(latest.initial - tally.initial)
    )
    if apart:
        found.append(Difference("redis-differs", audit.sale_id, apart, f"Redis counts {tally}, log and SQL {latest}"))
    missing = ledgered.seq - seq - len(between)
    if missing:
        detail = f"{missing} changes between SQL's and Redis' counters are in no log"
        found.append(Difference("log-incomplete", audit.sale_id, 1, detail))
    accounted = tally.remaining + tally.reserved + tally.sold
    if accounted != tally.initial:
        apart = abs(tally.initial - accounted)
        found.append(Difference("sum-differs", audit.sale_id, apart, f"Redis' counters add up to {accounted}"))
    return Audit(audit.sale_id, tally, ordered, tuple(found))
