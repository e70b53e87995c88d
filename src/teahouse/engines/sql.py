"""The SQL engine: SQLite in a file, or a server (MySQL, MariaDB, PostgreSQL) with replicas. One face for all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy import URL, Connection, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.engines.sql_errors import translated
from teahouse.engines.sql_network import NetworkEngine
from teahouse.engines.sql_replicas import ReplicaState
from teahouse.engines.sql_schema import metadata
from teahouse.engines.sql_sqlite import SqliteEngine
from teahouse.settings import Settings

__all__ = ["ANYBODY", "Caller", "Database", "ReplicaState", "database_on", "metadata"]

# A reader who has written nothing that it would have to see.
ANYBODY = ""

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "mysql": "mysql+asyncmy",
    "mariadb": "mariadb+asyncmy",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}

T = TypeVar("T")

# Who writes: a user's id, or those of everybody whose writes are gathered in one transaction.
Caller = str | Sequence[str] | None


class Database:
    """Connections to one SQL database, and to its replicas.

    Raises ``DatabaseUnavailable`` where the engine is out of reach, full, read-only or busy for longer than its
    time-out; constraint violations pass as SQLAlchemy's ``IntegrityError``.

    A server is written to READ COMMITTED, by many at once; ``connections`` is the most that is opened to each. It is
    given up when it has not answered a statement for ``timeout_seconds``, and so is a block that gave it none to do for
    as long. SQLite waits five seconds, and has one writer at a time.

    Reads of a named caller go to a replica, unless that caller has written, here, within ``sticky_seconds``; a replica
    that is dead or further behind than ``replica_lag_seconds`` is left out. Everything else goes to the primary.
    """

    def __init__(
        self,
        url: str,
        *,
        replicas: Sequence[str] = (),
        connections: int = 10,
        timeout_seconds: float = 5.0,
        sticky_seconds: float = 5.0,
        replica_lag_seconds: float = 1.0,
    ) -> None:
        self.url = _async_url(url)
        self.dialect = self.url.get_backend_name()
        self._sqlite: SqliteEngine | None = None
        self._network: NetworkEngine | None = None
        if self.dialect == "sqlite":
            if replicas:
                raise ValueError("database.replicas: SQLite has none")
            self._sqlite = SqliteEngine(self.url)
        else:
            self._network = NetworkEngine(
                self.url,
                [_replica_url(replica, self.dialect) for replica in replicas],
                connections=connections,
                timeout_seconds=timeout_seconds,
                sticky_seconds=sticky_seconds,
                replica_lag_seconds=replica_lag_seconds,
            )

    async def connect(self) -> None:
        """Opens the first connections; raises ``DatabaseUnavailable``."""
        with translated():
            await (self._sqlite or self._on_network).connect()
        await self.ping()

    async def aclose(self) -> None:
        """Takes no more writes, waits for those under way and closes every connection; readers must have ended."""
        await (self._sqlite or self._on_network).aclose()

    async def ping(self) -> None:
        """One trivial read from the primary, for readiness."""
        async with self.reading() as connection:
            await connection.execute(text("SELECT 1"))

    async def write(self, work: Callable[[Connection], T], caller: Caller = None) -> T:
        """Runs ``work`` in a write transaction: committed (on disk) when it returns, rolled back when it raises.

        ``work`` may use only the connection and what it was handed. It must not wait, nor begin or end the
        transaction, and it hands back plain values, no result that is still to be read. On SQLite it runs in the
        writer's thread, while the event loop's goes on: neither may change what the other looks at. On a server it may
        run again, up to five times, where the server undid the transaction (a deadlock, a lost connection before the
        commit): nothing else may come of it.

        ``DatabaseUnavailable`` from the commit leaves open whether it happened.

        On SQLite ``write()`` and ``transaction()`` take their turns in the order they came; on a server they go on side
        by side. A caller that is cancelled while it waits for its turn changes nothing; one that is cancelled later
        leaves its transaction committed or rolled back, never half-done.
        """
        with translated():
            if self._sqlite is not None:
                return await self._sqlite.write(work)
            return await self._on_network.write(work, _callers(caller))

    @asynccontextmanager
    async def transaction(self, caller: Caller = None) -> AsyncIterator[AsyncConnection]:
        """A write transaction: committed (on disk) when the block ends, rolled back when it raises."""
        engine = self._sqlite.transaction() if self._sqlite else self._on_network.transaction(_callers(caller))
        with translated():
            async with engine as connection:
                yield connection

    @asynccontextmanager
    async def reading(self, caller: str | None = None) -> AsyncIterator[AsyncConnection]:
        """A consistent snapshot, concurrent with writers.

        Without a caller it is the primary's. Name the user who asks, or ``ANYBODY`` where what is read may be as old as
        a replica is behind.
        """
        engine = self._sqlite.reading() if self._sqlite else self._on_network.reading(caller)
        with translated():
            async with engine as connection:
                yield connection

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for changes of the schema: one node at a time, and its statements may take their time."""
        engine = self._sqlite.transaction() if self._sqlite else self._on_network.migrating()
        with translated():
            async with engine as connection:
                yield connection

    def replica_states(self) -> list[ReplicaState]:
        """Each replica: its host without name or password, its state, and its lag in seconds."""
        return [] if self._network is None else self._network.replica_states()

    async def look_at_replicas(self) -> list[ReplicaState]:
        """Asks each replica now, also where nobody has called ``connect()``; for commands."""
        return [] if self._network is None else await self._network.look_at_replicas()

    async def create_all(self) -> None:
        """Every declared table, without migrations; for tests."""
        await self.write(metadata.create_all)

    @property
    def _on_network(self) -> NetworkEngine:
        assert self._network is not None
        return self._network


def database_on(settings: Settings) -> Database:
    """The database that the settings name."""
    chosen = settings.database
    return Database(
        settings.database_url,
        replicas=[replica.reveal() for replica in chosen.replicas],
        connections=chosen.connections,
        timeout_seconds=chosen.timeout_seconds,
        sticky_seconds=chosen.sticky_seconds,
        replica_lag_seconds=chosen.replica_lag_seconds,
    )


def _callers(caller: Caller) -> Sequence[str]:
    if caller is None:
        return ()
    return (caller,) if isinstance(caller, str) else caller


def _async_url(url: str) -> URL:
    parsed = make_url(url)
    driver = _DRIVERS.get(parsed.get_backend_name())
    if driver is None:
        known = "sqlite:///PATH, mysql://, mariadb:// or postgresql://"
        raise ValueError(f"database.url: {parsed.get_backend_name()} is not supported; use {known}")
    return parsed.set(drivername=driver)


def _replica_url(url: str, dialect: str) -> URL:
    parsed = _async_url(url)
    # MariaDB answers to both of its names.
    if (parsed.get_backend_name() == "postgresql") != (dialect == "postgresql"):
        raise ValueError(f"database.replicas: a replica of {dialect} cannot be {parsed.get_backend_name()}")
    return parsed
