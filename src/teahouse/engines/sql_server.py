"""Connections to one SQL server: a bounded number, each used by one operation at a time, and no wait without an end.

MySQL and MariaDB through asyncmy, PostgreSQL through asyncpg. asyncmy rather than aiomysql: since 0.2.12 a read that is
cancelled closes its connection (https://github.com/long2ice/asyncmy/issues/103), it is maintained, and it is faster.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

from sqlalchemy import URL, Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, PoolResetState

from teahouse.problems import DatabaseUnavailable

Mode = Literal["writing", "reading"]

# A connection that lay idle for longer is asked whether it still works: what stands between may have forgotten it.
_IDLE_SECONDS = 30.0
_CLOSE_SECONDS = 2.0
_PAUSE_SECONDS = 1.0
_DEADLINE = "teahouse_deadline"
_RETURNED = "teahouse.returned"
# Strict: what does not fit is refused and not cut, and zero is a number like any other.
_SQL_MODE = (
    "STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,"
    "NO_AUTO_VALUE_ON_ZERO"
)


class _Deadline:
    """The end of an operation's patience; each statement begins it anew."""

    def __init__(self, timeout: asyncio.Timeout, seconds: float | None) -> None:
        self._timeout = timeout
        self._seconds = seconds

    def extend(self) -> None:
        # What has run out stays so: the roll-back that follows is no new beginning.
        if self._seconds is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._seconds)

    def disarm(self) -> None:
        """For one who goes on without this connection."""
        self._seconds = None
        if not self._timeout.expired():
            self._timeout.reschedule(None)


class Silence:
    """Of one server: when it answered last, and until when it is left alone."""

    def __init__(self) -> None:
        self.answered_at = float("-inf")
        self.ask_again_at = float("-inf")

    def broken(self, *_: object) -> None:
        """It has answered somebody."""
        self.answered_at = time.monotonic()

    def met(self, begun: float) -> None:
        """Somebody who asked at that moment was given up."""
        if self.answered_at < begun:
            self.ask_again_at = time.monotonic() + _PAUSE_SECONDS


class Pool:
    """At most ``size`` connections to one server, all in one mode.

    ``writing`` is READ COMMITTED; ``reading`` sees one snapshot for a whole transaction, and cannot write. Raises
    ``DatabaseUnavailable`` where no connection can be had, and where the server gives no answer to a statement, or the
    caller gives it none to do, for ``timeout_seconds``. A server that has answered nobody for so long is left alone for
    a second: whoever stood in line behind a caller that was given up does not wait for the same silence again. Pools
    of one server share its ``silence``.
    """

    def __init__(
        self, url: URL, mode: Mode, *, size: int, timeout_seconds: float, silence: Silence | None = None
    ) -> None:
        self._mode = mode
        self._seconds = timeout_seconds
        self._engine = _engine(url, mode, size=size, seconds=timeout_seconds)
        self._silence = silence or Silence()
        event.listen(self._engine.sync_engine, "after_cursor_execute", self._silence.broken)

    @property
    def busy(self) -> int:
        """How many connections are in use."""
        checked_out: int = self._engine.pool.checkedout()  # type: ignore[attr-defined]  # every queue pool has it
        return checked_out

    @asynccontextmanager
    async def transaction(self, *, bounded: bool = True) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction: committed when the block ends, rolled back when it raises.

        Who is cancelled in a statement loses the connection, and the server rolls back. ``bounded=False``: a statement
        may take as long as it takes.
        """
        begun = time.monotonic()
        if begun < self._silence.ask_again_at:
            raise self._silent()
        timeout = asyncio.timeout(self._seconds)
        try:
            async with timeout, self._opened(_Deadline(timeout, self._seconds)) as connection:
                if time.monotonic() < self._silence.ask_again_at:
                    # While this caller waited for a connection, whoever had it was given up.
                    raise self._silent()
                if not bounded:
                    disarm(connection)
                async with connection.begin() as transaction:
                    yield connection
                    if self._mode == "reading" and transaction.is_active:
                        await transaction.rollback()
        except TimeoutError as error:
            if not timeout.expired():
                raise
            self._silence.met(begun)
            raise self._silent() from error

    def _silent(self) -> DatabaseUnavailable:
        return DatabaseUnavailable(f"The database gave no answer for {self._seconds:g} seconds.")

    async def aclose(self) -> None:
        """Closes the connections that nobody uses."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._engine.dispose()
        except TimeoutError:
            await self._engine.dispose(close=False)

    @asynccontextmanager
    async def _opened(self, deadline: _Deadline) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._engine.connect())
            except (OSError, DBAPIError, PoolTimeout, RuntimeError) as error:
                # RuntimeError is what asyncmy raises where the connection died before it could look at it.
                raise DatabaseUnavailable from error
            await connection.execution_options(**{_DEADLINE: deadline})
            yield connection


def disarm(connection: AsyncConnection) -> None:
    """Nobody is to be given up for what this connection does not answer."""
    deadline = _deadline(connection.sync_connection)
    if deadline is not None:
        deadline.disarm()


def address(url: URL) -> str:
    """Where a server is: its host and port, no name and no password."""
    port = url.port or (5432 if url.get_backend_name() == "postgresql" else 3306)
    return f"{url.host or 'localhost'}:{port}"


def _engine(url: URL, mode: Mode, *, size: int, seconds: float) -> AsyncEngine:
    arguments = _for_postgres(mode, seconds) if url.get_backend_name() == "postgresql" else _for_mysql(mode, seconds)
    engine = create_async_engine(
        url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=seconds,
        pool_use_lifo=True,
        pool_reset_on_return=None,
        connect_args=arguments,
    )
    sync = engine.sync_engine
    event.listen(sync, "checkout", _look_whether_it_lives)
    event.listen(sync, "checkin", _remember_when)
    event.listen(sync, "invalidate", _hang_up)
    event.listen(sync, "reset", _roll_back_what_is_open)
    event.listen(sync, "before_cursor_execute", lambda connection, *_: _extend(connection))
    event.listen(sync, "after_cursor_execute", lambda connection, *_: _extend(connection))
    event.listen(sync, "commit", _extend)
    event.listen(sync, "rollback", _extend)
    return engine


def _for_mysql(mode: Mode, seconds: float) -> dict[str, Any]:
    isolation, read_only = ("READ-COMMITTED", 0) if mode == "writing" else ("REPEATABLE-READ", 1)
    wait = _lock_seconds(seconds)
    # The two servers have other names for the same; each runs the comments meant for it.
    session = (
        f"SET SESSION sql_mode = '{_SQL_MODE}', time_zone = '+00:00', sql_notes = 0, innodb_lock_wait_timeout = {wait},"
        f" lock_wait_timeout = {wait}"
        f" /*M!100000 , tx_isolation = '{isolation}', tx_read_only = {read_only},"
        f" idle_transaction_timeout = {_idle_seconds(seconds)} */"
        f" /*!80000 , transaction_isolation = '{isolation}', transaction_read_only = {read_only} */"
    )
    return {"charset": "utf8mb4", "connect_timeout": seconds, "init_command": session}


def _for_postgres(mode: Mode, seconds: float) -> dict[str, Any]:
    isolation, read_only = ("read committed", "off") if mode == "writing" else ("repeatable read", "on")
    settings = {
        "application_name": "teahouse",
        "timezone": "UTC",
        "default_transaction_isolation": isolation,
        "default_transaction_read_only": read_only,
        "lock_timeout": f"{_lock_seconds(seconds)}s",
        # The server gives up a little earlier, so that its connection can go on.
        "statement_timeout": f"{max(1, int(seconds * 900))}ms",
        "idle_in_transaction_session_timeout": f"{_idle_seconds(seconds)}s",
    }
    return {"timeout": seconds, "server_settings": settings}


def _lock_seconds(seconds: float) -> int:
    # Short enough that a transaction that waited for another one in vain may be tried again.
    return max(1, int(seconds / 3))


def _idle_seconds(seconds: float) -> int:
    # Whoever holds locks and says nothing has been cut off from the server.
    return max(2, int(seconds * 2))


def _extend(connection: Connection) -> None:
    deadline = _deadline(connection)
    if deadline is not None:
        deadline.extend()


def _deadline(connection: Connection | None) -> _Deadline | None:
    return None if connection is None else connection.get_execution_options().get(_DEADLINE)


def _look_whether_it_lives(
    connection: DBAPIConnection, entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection
) -> None:
    """A server that ended has closed its connections, and a closed one costs nothing to notice."""
    if _is_closed(connection):
        raise DisconnectionError("the server has closed this connection")
    returned = entry.info.get(_RETURNED)
    if returned is not None and time.monotonic() - returned > _IDLE_SECONDS:
        try:
            connection.ping()
        except Exception as error:
            raise DisconnectionError("the connection was lost while nobody used it") from error


def _hang_up(connection: DBAPIConnection, _entry: ConnectionPoolEntry, _error: BaseException | None) -> None:
    """Whoever was silent until now would not answer a good-bye either, and nobody waits for that."""
    driver: Any = connection.driver_connection
    if hasattr(driver, "terminate"):
        driver.terminate()
        return
    # asyncmy has no public name for it.
    if driver._transport is not None:  # noqa: SLF001
        driver._transport.abort()  # noqa: SLF001
    driver.close()


def _remember_when(_connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    entry.info[_RETURNED] = time.monotonic()


def _is_closed(connection: DBAPIConnection) -> bool:
    driver: Any = connection.driver_connection
    if hasattr(driver, "is_closed"):
        return bool(driver.is_closed())
    # asyncmy has no public name for it.
    return bool(driver._stream_broken)  # noqa: SLF001


def _roll_back_what_is_open(connection: DBAPIConnection, _entry: ConnectionPoolEntry, state: PoolResetState) -> None:
    # Nearly always there is nothing, and to ask MySQL's driver costs no round trip, as the pool's own roll-back does.
    driver: Any = getattr(connection, "driver_connection", connection)
    begun = driver.get_transaction_status() if hasattr(driver, "get_transaction_status") else driver.is_in_transaction()
    if begun and not state.terminate_only:
        connection.rollback()
