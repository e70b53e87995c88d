"""The recorder: takes what the ledger logged into the archive, in batches, at the archive's pace and not the sale's.

One worker of all records at a time, whoever holds the lease; when that one dies another goes on with what it had taken
and not finished. An entry may be recorded twice: the archive is made for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from teahouse.problems import Problem
from teahouse.sales.archive import Archive, Entry, Refused

# Of one transaction; a single entry may hold more.
ORDERS_AT_ONCE = 2000
_GIVES_WAY = 10
_IDLE_SECONDS = 0.05
# A commit costs the database the same for one order as for a hundred: at most so many a second.
_GATHER_SECONDS = 0.1
_STANDBY_SECONDS = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0

_log = logging.getLogger(__name__)


class Backlog(Protocol):
    """What the ledger logged and the archive does not have yet. Every verb may raise ``RedisUnavailable``.

    Entries of one shard come in the order in which they happened, to one recorder at a time; ``take`` hands out again
    what a recorder before this one took and did not finish.
    """

    async def lead(self) -> bool:
        """Whether this worker may record now; renews that for a few seconds."""
        ...

    async def resign(self) -> None:
        """Lets another worker record at once."""
        ...

    async def take(self) -> list[tuple[str, Entry]]:
        """The next entries, oldest first, each with its shard; empty where there are none."""
        ...

    async def finish(self, taken: Sequence[tuple[str, Entry]]) -> None:
        """These are in the archive."""
        ...

    async def set_aside(self, shard: str, refused: Sequence[Refused]) -> None:
        """Keeps what the archive will never take where an operator finds it."""
        ...

    async def tidy(self) -> None:
        """Lets go of what is settled, recorded and old enough; called now and then."""
        ...


class Recorder:
    """Runs in every worker; see the module. ``per_second`` bounds the orders that reach the archive.

    While ``stormy()`` it gives way: a tenth of that is enough, and the rest follows when the sale is calm.
    """

    def __init__(
        self, backlog: Backlog, archive: Archive, *, per_second: int, stormy: Callable[[], bool] = lambda: False
    ) -> None:
        self.recorded = 0
        self.transactions = 0
        self.set_aside = 0
        self.leading = False
        self._backlog = backlog
        self._archive = archive
        self._per_second = per_second
        self._stormy = stormy
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins in the background."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="recorder")

    async def aclose(self) -> None:
        """Ends after the transaction under way, and lets another go on."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self.leading:
            try:
                await self._backlog.resign()
            except Problem as problem:
                _log.info("the recorder's lease runs out by itself: %s", problem.detail)

    async def drain(self) -> int:
        """Records all there is, for a command that runs beside no server. Returns how many entries it were."""
        total = 0
        while await self._backlog.lead():
            taken = await self._backlog.take()
            if not taken:
                await self._backlog.resign()
                return total
            for part in portions(taken):
                await self._record(part)
            total += len(taken)
        return total

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await asyncio.sleep(await self._turn())
                pause = _FIRST_PAUSE
            except Problem as problem:
                _log.warning("orders wait to be recorded: %s", problem.detail)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except Exception:  # noqa: BLE001  # the next turn tries again
                _log.exception("orders wait to be recorded")
                await asyncio.sleep(_LONGEST_PAUSE)

    async def _turn(self) -> float:
        """One round; returns how long to wait before the next."""
        self.leading = await self._backlog.lead()
        if not self.leading:
            return _STANDBY_SECONDS
        taken = await self._backlog.take()
        if not taken:
            await self._backlog.tidy()
            return _IDLE_SECONDS
        gathering_until = asyncio.get_running_loop().time() + _GATHER_SECONDS
        for part in portions(taken):
            begun = asyncio.get_running_loop().time()
            await self._record(part)
            spent = asyncio.get_running_loop().time() - begun
            await asyncio.sleep(max(0.0, _units(part) / self._pace() - spent))
            if not await self._backlog.lead():
                # What was taken is handed out again to whoever leads now.
                return _STANDBY_SECONDS
        return max(0.0, gathering_until - asyncio.get_running_loop().time())

    def _pace(self) -> float:
        return self._per_second / _GIVES_WAY if self._stormy() else self._per_second

    async def _record(self, part: Sequence[tuple[str, Entry]]) -> None:
        # What has begun is finished: a stop waits for one transaction.
        recording = asyncio.get_running_loop().create_task(self._record_whole(part))
        try:
            await asyncio.shield(recording)
        except asyncio.CancelledError:
            await asyncio.gather(recording, return_exceptions=True)
            raise

    async def _record_whole(self, part: Sequence[tuple[str, Entry]]) -> None:
        refused = await self._archive.record([entry for _, entry in part])
        if refused:
            await self._report(part, refused)
        await self._backlog.finish(part)
        self.recorded += _units(part)
        self.transactions += 1

    async def _report(self, part: Sequence[tuple[str, Entry]], refused: Sequence[Refused]) -> None:
        by_shard: dict[str, list[Refused]] = {}
        for each in refused:
            by_shard.setdefault(_shard_of(each, part), []).append(each)
        for shard, its_own in by_shard.items():
            await self._backlog.set_aside(shard, its_own)
        self.set_aside += len(refused)
        for each in refused:
            _log.error("%s cannot be recorded and is set aside: %s", each.id, each.reason)


def portions(taken: Sequence[tuple[str, Entry]], most: int = ORDERS_AT_ONCE) -> list[list[tuple[str, Entry]]]:
    """The entries in order, in parts of at most ``most`` orders, or of one entry."""
    parts: list[list[tuple[str, Entry]]] = []
    size = 0
    for each in taken:
        if not parts or size + each[1].count > most:
            parts.append([])
            size = 0
        parts[-1].append(each)
        size += each[1].count
    return parts


def _shard_of(refused: Refused, part: Sequence[tuple[str, Entry]]) -> str:
    named = (
        shard
        for shard, entry in part
        if refused.id == entry.id or refused.id in entry.orders or refused.id in entry.payments
    )
    return next(named, part[0][0])


def _units(part: Sequence[tuple[str, Entry]]) -> int:
    return sum(entry.count for _, entry in part)
