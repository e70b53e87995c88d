"""SQL servers: a primary that decides, and replicas that answer reads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.engines.sql_errors import is_contention
from teahouse.engines.sql_first_try import FirstTry
from teahouse.engines.sql_locks import wait_for_turn
from teahouse.engines.sql_replicas import Replica, Replicas, ReplicaState, Sticky
from teahouse.engines.sql_server import Pool, Silence, address
from teahouse.problems import DatabaseUnavailable

_ATTEMPTS = 5
_PROBE_SECONDS = 1.0

T = TypeVar("T")


class NetworkEngine:
    """The connections of one worker to a primary and its replicas, at most ``connections`` to each."""

    def __init__(
        self,
        url: URL,
        replicas: Sequence[URL],
        *,
        connections: int,
        timeout_seconds: float,
        sticky_seconds: float,
        replica_lag_seconds: float,
    ) -> None:
        self._url = url
        self._seconds = timeout_seconds
        self._closed = False
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._sticky = Sticky(sticky_seconds)
        writers = connections // 2
        silence = Silence()
        self._writers = Pool(url, "writing", size=writers, timeout_seconds=timeout_seconds, silence=silence)
        self._readers = Pool(
            url, "reading", size=connections - writers, timeout_seconds=timeout_seconds, silence=silence
        )
        self._replicas = Replicas(
            self._writers,
            [_replica(each, connections, timeout_seconds) for each in replicas],
            lag_seconds=replica_lag_seconds,
        )

    async def connect(self) -> None:
        """Opens the first connections to the primary, and begins to look after the replicas."""
        self._closed = False
        await self.write(_nothing, ())
        self._replicas.start()

    async def aclose(self) -> None:
        """Takes no more writes, waits for those under way (bounded) and closes the connections."""
        self._closed = True
        try:
            async with asyncio.timeout(self._seconds):
                await self._idle.wait()
        except TimeoutError:
            # They end by themselves, and find their connections closed.
            pass
        await self._replicas.aclose()
        await self._readers.aclose()
        await self._writers.aclose()

    async def write(self, work: Callable[[Connection], T], callers: Sequence[str]) -> T:
        """``work`` in one transaction on the primary; once more where the server undid it for another's sake."""
        until = asyncio.get_running_loop().time() + self._seconds
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._once(work, callers)
            except _UndoneError as undone:
                if attempt == _ATTEMPTS or asyncio.get_running_loop().time() >= until:
                    raise undone.error from None
            # Two that stood in each other's way must not meet again.
            await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311  # chance, not a secret
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def transaction(self, callers: Sequence[str]) -> AsyncIterator[AsyncConnection]:
        """A transaction on the primary."""
        async with self._writing(callers), AsyncExitStack() as stack:
            yield await _dependable(stack, self._writers)

    @asynccontextmanager
    async def reading(self, caller: str | None) -> AsyncIterator[AsyncConnection]:
        """A snapshot of a replica for a caller that has not just written, else of the primary."""
        async with AsyncExitStack() as stack:
            yield await self._reader(stack, caller)

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """A transaction in which statements may take their time, for one node at a time."""
        # A connection of its own: it is told things, and holds a lock, that must not outlive the migration.
        pool = Pool(self._url, "writing", size=1, timeout_seconds=self._seconds)
        try:
            async with self._writing(()), pool.transaction(bounded=False) as connection:
                await wait_for_turn(connection)
                yield connection
        finally:
            await pool.aclose()

    async def look_at_replicas(self) -> list[ReplicaState]:
        """Each replica as it is now."""
        await self._replicas.look()
        return self._replicas.states()

    def replica_states(self) -> list[ReplicaState]:
        """Each replica as it was judged last."""
        return self._replicas.states()

    async def _once(self, work: Callable[[Connection], T], callers: Sequence[str]) -> T:
        committing = False
        try:
            async with self._writing(callers), self._writers.transaction() as connection:
                result = await connection.run_sync(work)
                committing = True
            return result
        except DBAPIError as error:
            # A commit whose answer was lost may have happened: that is for the caller to find out.
            if is_contention(error) or (error.connection_invalidated and not committing):
                raise _UndoneError(error) from error
            raise

    @asynccontextmanager
    async def _writing(self, callers: Sequence[str]) -> AsyncIterator[None]:
        if self._closed:
            raise DatabaseUnavailable
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            # Also when it failed: it may have been committed all the same.
            self._sticky.wrote(callers)
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _reader(self, stack: AsyncExitStack, caller: str | None) -> AsyncConnection:
        replica = None if caller is None or self._sticky.holds(caller) else self._replicas.choose()
        if replica is None:
            return await _dependable(stack, self._readers)

        async def primary() -> AsyncConnection:
            replica.judge("unreachable")
            return await stack.enter_async_context(self._readers.transaction())

        try:
            connection = await stack.enter_async_context(replica.pool.transaction())
        except DatabaseUnavailable:
            return await primary()
        return FirstTry(connection, _any_failure, primary, seconds=_PROBE_SECONDS)


class _UndoneError(Exception):
    """The transaction did not happen, and may be tried again."""

    def __init__(self, error: DBAPIError) -> None:
        super().__init__(str(error))
        self.error = error


async def _dependable(stack: AsyncExitStack, pool: Pool) -> AsyncConnection:
    async def another() -> AsyncConnection:
        return await stack.enter_async_context(pool.transaction())

    return FirstTry(await another(), _was_lost, another)


def _was_lost(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _any_failure(_error: Exception) -> bool:
    return True


def _replica(url: URL, connections: int, seconds: float) -> Replica:
    probe_seconds = min(_PROBE_SECONDS, seconds)
    return Replica(
        address(url),
        Pool(url, "reading", size=connections - 1, timeout_seconds=seconds),
        Pool(url, "reading", size=1, timeout_seconds=probe_seconds),
    )


def _nothing(connection: Connection) -> None:
    """Opens the connection, and shows that the server answers."""
    connection.exec_driver_sql("SELECT 1")
