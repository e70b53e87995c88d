"""SQLite in WAL mode: one writer and a few readers.

Every transaction on the writer begins ``IMMEDIATE`` and commits with ``synchronous=FULL``: what has been committed
survives a power cut (https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar, cast

import aiosqlite
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState, StaticPool

from teahouse.problems import DatabaseUnavailable

_READERS = 4
_BUSY_SECONDS = 5
_WAIT_SECONDS = 5
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}",
    "PRAGMA cache_size = -8192",
    # In pages (32 MB): fewer checkpoints, each of which rewrites the pages that many batches touch.
    "PRAGMA wal_autocheckpoint = 8000",
    "PRAGMA journal_size_limit = 67108864",
)
# A write that slipped into a read would pass the writers' queue by.
_READ_ONLY = "PRAGMA query_only = ON"

T = TypeVar("T")


class SqliteEngine:
    """The connections to one file. What it raises is the driver's; ``Database`` translates."""

    def __init__(self, url: URL) -> None:
        # One connection, and one turn after the other: writers wait here, in order, and not on SQLite's busy handler.
        self._turn = asyncio.Lock()
        # Who waits for it. Where one has been given it and has not run yet, it looks free.
        self._queue = 0
        self._closed = False
        self._writer = _engine(url, size=1, begin="BEGIN IMMEDIATE", pragmas=_PRAGMAS)
        self._readers = _engine(url, size=_READERS, begin="BEGIN", pragmas=(*_PRAGMAS, _READ_ONLY))
        self._thread: _WritersThread | None = None
        event.listen(self._writer.sync_engine, "connect", self._opened)
        event.listen(self._writer.sync_engine, "close", self._closing)

    async def connect(self) -> None:
        """Opens the writer, and shows that it can write."""
        self._closed = False
        await self.write(_nothing)

    async def aclose(self) -> None:
        """Takes no more writes, waits for the one under way and closes every connection; readers must have ended."""
        self._closed = True
        async with self._turn:
            await self._readers.dispose()
            await self._writer.dispose()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """``work`` as a whole is one visit to the writer's thread, where ``transaction()`` pays several for each
        statement.
        """
        await self._take_turn()
        try:
            # In its turn nobody else has the connection, also where it was not taken out of the pool.
            thread = self._thread or await self._look_at_writer()
            try:
                return await _to_its_end(thread.start(work))
            except BaseException:
                await self._look_at_writer()
                raise
        finally:
            self._turn.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """See ``Database``."""
        async with self._own_turn(), self._writer.connect() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """See ``Database``."""
        async with self._readers.connect() as connection, connection.begin():
            yield connection

    async def _look_at_writer(self) -> _WritersThread:
        """Has the pool open the connection where there is none, and close it where it is of no use any more."""
        async with self._writer.connect():
            assert self._thread is not None
            return self._thread

    def _opened(self, connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        self._thread = _WritersThread(cast("aiosqlite.Connection", connection.driver_connection))

    def _closing(self, _connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        self._thread = None

    @asynccontextmanager
    async def _own_turn(self) -> AsyncIterator[None]:
        await self._take_turn()
        try:
            yield
        finally:
            self._turn.release()

    async def _take_turn(self) -> None:
        if self._turn.locked() or self._queue or self._closed:
            await self._queue_up()
        else:
            # It is free, and a limit to a wait that is none would be a tenth of what a small write costs.
            await self._turn.acquire()
        if self._closed:
            self._turn.release()
            raise DatabaseUnavailable

    async def _queue_up(self) -> None:
        self._queue += 1
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._turn.acquire()
        except TimeoutError as error:
            raise DatabaseUnavailable from error
        finally:
            self._queue -= 1


def _make_private(path: str | None) -> None:
    # SQLite would make a new file as readable as the umask lets it, and its log after the file's example. Where the
    # file cannot be made, SQLite says why.
    if path and path != ":memory:":
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _engine(url: URL, *, size: int, begin: str, pragmas: tuple[str, ...]) -> AsyncEngine:
    engine = create_async_engine(
        url, pool_size=size, max_overflow=0, pool_timeout=_WAIT_SECONDS, pool_reset_on_return=None
    )

    def prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # The driver must not begin transactions of its own: BEGIN is emitted below.
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            for pragma in pragmas:
                cursor.execute(pragma)
        except BaseException:
            # The pool never saw this connection, so nobody else ends its thread.
            connection.close()
            raise
        cursor.close()

    event.listen(engine.sync_engine, "do_connect", lambda *_: _make_private(url.database))
    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    event.listen(engine.sync_engine, "reset", _roll_back_what_is_open)
    return engine


def _roll_back_what_is_open(connection: DBAPIConnection, _entry: ConnectionPoolEntry, state: PoolResetState) -> None:
    # A commit that failed leaves its transaction open. Nearly always there is none, and to ask costs no visit to the
    # driver's thread, as the pool's own roll-back does.
    driver = getattr(connection, "driver_connection", connection)
    if driver.in_transaction and not state.terminate_only:
        connection.rollback()


class _WritersThread:
    """The driver's thread, and SQLAlchemy's view of the writer's own connection, to be used in that thread only."""

    def __init__(self, driver: aiosqlite.Connection) -> None:
        raw = self._raw = driver._conn  # noqa: SLF001  # the driver has no public name for it
        self._calls = driver._tx  # noqa: SLF001  # nor for "run this in your thread"; SQLAlchemy's dialect uses it too
        self._engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, pool_reset_on_return=None)
        self._connection: Connection | None = None

    def start(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        """The future has what ``work`` gave, or raised, when its transaction has ended."""
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put_nowait((result, partial(self._whole, work)))
        return result

    def _whole(self, work: Callable[[Connection], T]) -> T:
        # One for good: to make it and to give it up is a tenth of what a small transaction costs.
        connection = self._connection
        if connection is None:
            connection = self._connection = self._engine.connect()
        try:
            run_directly(connection, "BEGIN IMMEDIATE")
            result = work(connection)
            run_directly(connection, "COMMIT")
        except BaseException:
            # A commit that failed leaves its transaction open; some errors have ended it already.
            if self._raw.in_transaction:
                run_directly(connection, "ROLLBACK")
            raise
        finally:
            # Where the work went through SQLAlchemy, that has begun one of its own, of which the driver knows nothing.
            connection.rollback()
        return result


def _nothing(_connection: Connection) -> None:
    """Opens the connection, and shows that it can write."""


def run_directly(
    connection: Connection, statement: str, parameters: Mapping[str, Any] | None = None
) -> Sequence[Sequence[Any]]:
    """Carries out a statement of a transaction, past SQLAlchemy; gives what it selects. Raises what SQLAlchemy does.

    A short statement takes SQLite 8 us, and what SQLAlchemy does around it five times as much.
    """
    with _as_sqlalchemy(connection, statement, parameters) as cursor:
        cursor.execute(statement, parameters or {})
        return cursor.fetchall()


def run_for_each(connection: Connection, statement: str, rows: Sequence[Mapping[str, Any] | Sequence[Any]]) -> None:
    """As ``run_directly``, once for each row."""
    with _as_sqlalchemy(connection, statement, rows) as cursor:
        cursor.executemany(statement, rows)


@contextmanager
def _as_sqlalchemy(connection: Connection, statement: str, parameters: Any) -> Iterator[sqlite3.Cursor]:
    try:
        yield cast("sqlite3.Cursor", connection.connection.cursor())
    except sqlite3.Error as error:
        raise DBAPIError.instance(statement, parameters, error, sqlite3.Error, dialect=connection.dialect) from error


async def _to_its_end(work: asyncio.Future[T]) -> T:
    """The result. Who is cancelled meanwhile is so when the work has ended: a thread cannot be called back."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((work,))
        # Looked at, so that asyncio does not complain of an error that nobody saw.
        work.exception()
        raise
