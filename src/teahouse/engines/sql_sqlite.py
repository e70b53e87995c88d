"""SQLite in WAL mode: one writer and a few readers.

Every transaction on the writer begins ``IMMEDIATE`` and commits with ``synchronous=FULL``: what has been committed
survives a power cut (https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar, cast

import aiosqlite
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, PoolResetState, StaticPool

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
# Where the pool keeps, with the writer's connection, the engine that works on it inside the driver's thread.
_IN_THREAD = "teahouse.in_thread"

T = TypeVar("T")


class SqliteEngine:
    """The connections to one file. What it raises is the driver's; ``Database`` translates."""

    def __init__(self, url: URL) -> None:
        # One connection, and one turn after the other: writers wait here, in order, and not on SQLite's busy handler.
        self._turn = asyncio.Lock()
        self._closed = False
        self._writer = _engine(url, size=1, begin="BEGIN IMMEDIATE", pragmas=_PRAGMAS)
        self._readers = _engine(url, size=_READERS, begin="BEGIN", pragmas=(*_PRAGMAS, _READ_ONLY))
        event.listen(self._writer.sync_engine, "connect", _add_in_thread_engine)

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
        async with self._own_turn():
            connection = await self._writer.connect()
            try:
                return await _to_its_end(_start(await connection.get_raw_connection(), work))
            finally:
                await connection.close()

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

    @asynccontextmanager
    async def _own_turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._turn.acquire()
        except TimeoutError as error:
            raise DatabaseUnavailable from error
        try:
            if self._closed:
                raise DatabaseUnavailable
            yield
        finally:
            self._turn.release()


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
    _begin_and_end(engine.sync_engine, begin)
    return engine


def _begin_and_end(engine: Engine, begin: str) -> None:
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    event.listen(engine, "reset", _roll_back_what_is_open)


def _roll_back_what_is_open(connection: DBAPIConnection, _entry: ConnectionPoolEntry, state: PoolResetState) -> None:
    # A commit that failed leaves its transaction open. Nearly always there is none, and to ask costs no visit to the
    # driver's thread, as the pool's own roll-back does.
    driver = getattr(connection, "driver_connection", connection)
    if driver.in_transaction and not state.terminate_only:
        connection.rollback()


def _add_in_thread_engine(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    """An engine for the writer's own connection, to be used in the driver's thread only."""
    raw = connection.driver_connection._conn  # noqa: SLF001  # the driver has no public name for it
    engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, pool_reset_on_return=None)
    _begin_and_end(engine, "BEGIN IMMEDIATE")
    entry.info[_IN_THREAD] = engine


def _start(pooled: PoolProxiedConnection, work: Callable[[Connection], T]) -> asyncio.Future[T]:
    driver = cast("aiosqlite.Connection", pooled.driver_connection)
    result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    # The driver has no public name for "run this in your thread"; SQLAlchemy's dialect uses the same queue.
    driver._tx.put_nowait((result, partial(_whole, pooled.info[_IN_THREAD], work)))  # noqa: SLF001
    return result


def _whole(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _nothing(_connection: Connection) -> None:
    """Opens the connection, and shows that it can write."""


async def _to_its_end(work: asyncio.Future[T]) -> T:
    """The result. Who is cancelled meanwhile is so when the work has ended: a thread cannot be called back."""
    cancelled = None
    while not work.done():
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        # Looked at, so that asyncio does not complain of an error that nobody saw.
        work.exception()
        raise cancelled
    return work.result()
