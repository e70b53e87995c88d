"""The SQL engine: one writer and a few readers on SQLite in WAL mode.

Every transaction on the writer begins ``IMMEDIATE`` and commits with ``synchronous=FULL``: what has been committed
survives a power cut (https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy import URL, MetaData, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from teahouse.problems import DatabaseUnavailable

_READERS = 4
_BUSY_SECONDS = 5
_POOL_WAIT_SECONDS = 5
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

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Database:
    """Connections to one SQL database.

    Raises ``DatabaseUnavailable`` where the engine is out of reach, full or busy for longer than its time-out;
    constraint violations pass as SQLAlchemy's ``IntegrityError``.
    """

    def __init__(self, url: str) -> None:
        self.url = _async_url(url)
        self.dialect = self.url.get_backend_name()
        # One connection serialises the writers: they wait here, in order, and not on SQLite's busy handler.
        self._writer = _engine(self.url, size=1, begin="BEGIN IMMEDIATE", pragmas=_PRAGMAS)
        self._readers = _engine(self.url, size=_READERS, begin="BEGIN", pragmas=(*_PRAGMAS, _READ_ONLY))

    async def connect(self) -> None:
        """Opens the first connections; raises ``DatabaseUnavailable``."""
        async with self.transaction():
            pass
        await self.ping()

    async def aclose(self) -> None:
        """Closes every connection; a transaction under way must have ended."""
        await self._readers.dispose()
        await self._writer.dispose()

    async def ping(self) -> None:
        """One trivial read, for readiness."""
        async with self.reading() as connection:
            await connection.execute(text("SELECT 1"))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A serialised write transaction: committed (on disk) when the block ends, rolled back when it raises."""
        with _translated():
            async with self._writer.connect() as connection, connection.begin():
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A consistent snapshot, concurrent with the writer."""
        with _translated():
            async with self._readers.connect() as connection, connection.begin():
                yield connection

    async def create_all(self) -> None:
        """Every declared table, without migrations; for tests."""
        async with self.transaction() as connection:
            await connection.run_sync(metadata.create_all)


@contextmanager
def _translated() -> Iterator[None]:
    """Turns the driver's ways of saying "not now" into one problem."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable from error
    except DatabaseError as error:
        # SQLite reports a file that is damaged, or no database at all, as the bare base class.
        if type(error) is not DatabaseError:
            raise
        raise DatabaseUnavailable from error


def _async_url(url: str) -> URL:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise ValueError(f"database.url: {parsed.get_backend_name()} is not supported; use sqlite:///PATH")
    return parsed.set(drivername="sqlite+aiosqlite")


def _engine(url: URL, *, size: int, begin: str, pragmas: tuple[str, ...]) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=size, max_overflow=0, pool_timeout=_POOL_WAIT_SECONDS)

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

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine
