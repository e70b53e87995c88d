"""One node at a time: the server's own lock for changes of the schema."""

from __future__ import annotations

import asyncio
import hashlib

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.problems import DatabaseUnavailable

# Another node's migration of a large table may take this long.
_WAIT_SECONDS = 600.0
_POLL_SECONDS = 0.25
# What a change of the schema waits for, so that it does not itself hold everybody up for ever.
_LOCK_SECONDS = 60

_POSTGRES_PATIENCE = (
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'",
)
# The driver prints every warning, and MySQL warns of each primary key that has a name: none is kept for it to print.
_MYSQL_PATIENCE = (
    f"SET SESSION max_error_count = 0, lock_wait_timeout = {_LOCK_SECONDS} /*M!100000, idle_transaction_timeout = 0 */",
)


async def wait_for_turn(connection: AsyncConnection) -> None:
    """Takes the lock, which goes with the connection. Raises ``DatabaseUnavailable`` where another node holds on."""
    postgres = connection.dialect.name == "postgresql"
    for statement in _POSTGRES_PATIENCE if postgres else _MYSQL_PATIENCE:
        await connection.execute(text(statement))
    loop = asyncio.get_running_loop()
    until = loop.time() + _WAIT_SECONDS
    while not await _taken(connection, postgres=postgres):
        if loop.time() > until:
            raise DatabaseUnavailable("Another node has been changing the database's schema for too long.")
        await asyncio.sleep(_POLL_SECONDS)


async def _taken(connection: AsyncConnection, *, postgres: bool) -> bool:
    # MySQL's locks are the whole server's, and their names have 64 characters at most.
    digest = hashlib.sha256((connection.engine.url.database or "").encode())
    if postgres:
        key = int.from_bytes(digest.digest()[:8], "big", signed=True)
        return bool(await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key}))
    name = f"teahouse.migrations.{digest.hexdigest()[:32]}"
    return bool(await connection.scalar(text("SELECT GET_LOCK(:name, 0)"), {"name": name}))
