"""Which replicas may answer reads: those that are alive and close behind the primary.

Whichever node comes first raises a number in a row of the primary, a few times a second. How long ago this node first
saw a number that a replica does not have yet is how far that replica is behind: no privilege is needed, and no clock
has to agree with another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, cast, extract, func, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.engines.sql_schema import heartbeat
from teahouse.engines.sql_server import Pool
from teahouse.problems import DatabaseUnavailable

_INTERVAL_SECONDS = 0.2
_ROW = 1
_BEATS_KEPT = 1000
_MOST_CALLERS = 100_000

State = Literal["healthy", "lagging", "unreachable", "unknown"]

_log = logging.getLogger(__name__)
_read = select(heartbeat.c.beat, heartbeat.c.beaten_at).where(heartbeat.c.id == _ROW)


class ReplicaState(NamedTuple):
    """A replica as this node sees it. ``lag_seconds`` is how far it is behind; None where nobody knows."""

    host: str
    state: State
    lag_seconds: float | None


class Beat(NamedTuple):
    """The row: its number, and the primary's time in Unix milliseconds."""

    number: int
    at: int


class Replica:
    """One replica: the connections that answer reads, the one that asks after it, and what that one found."""

    def __init__(self, host: str, pool: Pool, probe: Pool) -> None:
        self.host = host
        self.pool = pool
        self.probe = probe
        self.state: State = "unknown"
        self.lag_seconds: float | None = None

    def judge(self, state: State, lag_seconds: float | None = None) -> None:
        """What is true of it now."""
        if state != self.state:
            log = _log.info if state == "healthy" else _log.warning
            log("replica %s is %s", self.host, state)
        self.state, self.lag_seconds = state, lag_seconds


class Pulse:
    """The primary's beats, with the moments at which this node first saw them."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._seen: deque[tuple[Beat, float]] = deque(maxlen=_BEATS_KEPT)

    def saw(self, beat: Beat) -> bool:
        """Remembers the beat; False when it is the one seen last."""
        if self._seen and beat.number == self._seen[-1][0].number:
            return False
        if self._seen and beat.number < self._seen[-1][0].number:
            # Another primary, or a table made anew: what was seen before says nothing.
            self._seen.clear()
        self._seen.append((beat, self._monotonic()))
        return True

    def lag(self, beat: Beat) -> tuple[float | None, bool]:
        """How many seconds a replica at ``beat`` is behind, and whether it has everything this node knows of.

        None: the primary was never seen. A replica that lacks the first beat this node saw is behind by nobody knows
        how much; the times in the two rows tell roughly.
        """
        if not self._seen:
            return None, False
        if beat.number < self._seen[0][0].number:
            return max(self._age(0), (self._seen[-1][0].at - beat.at) / 1000), False
        for index in range(len(self._seen) - 1, -1, -1):
            if self._seen[index][0].number <= beat.number:
                missing = index + 1
                return (self._age(missing) if missing < len(self._seen) else 0.0), True
        return self._age(0), False

    def _age(self, index: int) -> float:
        return self._monotonic() - self._seen[index][1]


class Replicas:
    """Watches replicas in the background, and chooses among the healthy ones.

    One that is dead, or further behind than ``lag_seconds``, is left out within ``lag_seconds`` and a second, and comes
    back by itself. While the primary is away nothing is written, so replicas stay as they were judged.
    """

    def __init__(
        self,
        primary: Pool,
        replicas: Sequence[Replica],
        *,
        lag_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.all = tuple(replicas)
        self._primary = primary
        self._lag_seconds = lag_seconds
        self._pulse = Pulse(monotonic)
        self._tasks: list[asyncio.Task[None]] = []
        self._last = 0

    def start(self) -> None:
        """Begins to watch."""
        if self.all and not self._tasks:
            watches = [self._beat, *(self._watcher(replica) for replica in self.all)]
            self._tasks = [asyncio.create_task(_again_and_again(watch)) for watch in watches]

    async def aclose(self) -> None:
        """Watches no longer, and closes the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for replica in self.all:
            await replica.probe.aclose()
            await replica.pool.aclose()

    def choose(self) -> Replica | None:
        """The healthy replica with the least to do, in turn where they are equal; None without one."""
        healthy = [replica for replica in self.all if replica.state == "healthy"]
        if not healthy:
            return None
        self._last += 1
        start = self._last % len(healthy)
        return min(healthy[start:] + healthy[:start], key=lambda replica: replica.pool.busy)

    async def look(self) -> None:
        """One look at each, for a command that does not watch for long."""
        await self._beat()
        # Time for the beat that was seen to reach them.
        await asyncio.sleep(2 * _INTERVAL_SECONDS)
        await asyncio.gather(*(self._watcher(replica)() for replica in self.all))

    def states(self) -> list[ReplicaState]:
        """Each replica as it was judged last."""
        return [ReplicaState(replica.host, replica.state, replica.lag_seconds) for replica in self.all]

    async def _beat(self) -> None:
        with contextlib.suppress(DatabaseUnavailable, DBAPIError):
            async with self._primary.transaction() as connection:
                beat = await _read_beat(connection)
                # Raised by this node only where no other node has done so since the last look.
                if beat is None or not self._pulse.saw(beat):
                    await _raise_beat(connection, beat)

    def _watcher(self, replica: Replica) -> Callable[[], Awaitable[None]]:
        async def watch() -> None:
            try:
                async with replica.probe.transaction() as connection:
                    beat = await _read_beat(connection)
            except (DatabaseUnavailable, DBAPIError):
                replica.judge("unreachable")
                return
            if beat is None:
                replica.judge("lagging")
                return
            lag, complete = self._pulse.lag(beat)
            good = complete and lag is not None and lag <= self._lag_seconds
            replica.judge("healthy" if good else "unknown" if lag is None else "lagging", lag)

        return watch


class Sticky:
    """Who has written within the last ``seconds``. Bounded: when too many have, everybody counts as one of them."""

    def __init__(
        self, seconds: float, *, most: int = _MOST_CALLERS, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._monotonic = monotonic
        self._until: OrderedDict[str, float] = OrderedDict()
        self._everybody_until = 0.0

    def wrote(self, callers: Sequence[str]) -> None:
        """These have written just now."""
        now = self._monotonic()
        for caller in callers:
            self._until[caller] = now + self._seconds
            self._until.move_to_end(caller)
        self._prune(now)

    def holds(self, caller: str) -> bool:
        """True while the caller has to see what it wrote."""
        now = self._monotonic()
        return now < self._everybody_until or now < self._until.get(caller, 0.0)

    def __len__(self) -> int:
        return len(self._until)

    def _prune(self, now: float) -> None:
        while self._until:
            caller, until = next(iter(self._until.items()))
            if until > now:
                if len(self._until) <= self._most:
                    return
                self._everybody_until = max(self._everybody_until, until)
            del self._until[caller]


async def _again_and_again(look: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await look()
        except Exception:  # noqa: BLE001  # whatever it was, the next look may find a replica that can be used
            _log.exception("looking after a replica failed")
        await asyncio.sleep(_INTERVAL_SECONDS)


async def _read_beat(connection: AsyncConnection) -> Beat | None:
    row = (await connection.execute(_read)).first()
    return Beat(row.beat, row.beaten_at) if row else None


async def _raise_beat(connection: AsyncConnection, last: Beat | None) -> None:
    now = _now(connection.dialect.name)
    if last is None:
        with contextlib.suppress(IntegrityError):
            await connection.execute(insert(heartbeat).values(id=_ROW, beat=1, beaten_at=now))
        return
    mine = update(heartbeat).where(heartbeat.c.id == _ROW, heartbeat.c.beat == last.number)
    await connection.execute(mine.values(beat=last.number + 1, beaten_at=now))


def _now(dialect: str) -> ColumnElement[int]:
    """The server's own time in Unix milliseconds."""
    if dialect == "postgresql":
        return cast(extract("epoch", func.clock_timestamp()) * 1000, BigInteger)
    return cast(func.unix_timestamp(func.now(3)) * 1000, BigInteger)
