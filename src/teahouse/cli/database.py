"""The database for commands that run beside the server, or before there ever was one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from teahouse import datadir, migrations
from teahouse.engines.sql import Database, database_on
from teahouse.settings import Settings, SettingsError


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """The settings' database, in a data directory that is there; raises ``SettingsError``, ``DatabaseUnavailable``."""
    datadir.prepare(settings.data_dir)
    database = database_on(settings)
    try:
        yield database
    finally:
        await database.aclose()


async def up_to_date(database: Database, settings: Settings) -> tuple[str | None, str]:
    """Brings the schema up to date; returns the revision before and the one now.

    Never under a server that runs on the same file. A database server has locks of its own for that, and its nodes are
    replaced one by one.
    """
    before, head = await migrations.current(database), migrations.head()
    if before != head:
        with datadir.locked(settings.data_dir) if database.dialect == "sqlite" else nullcontext():
            await migrations.upgrade(database)
    return before, head


async def require_schema(database: Database) -> None:
    """Raises ``SettingsError`` where the schema is not this version's."""
    at, head = await migrations.current(database), migrations.head()
    if at != head:
        raise SettingsError(f"database: its schema is at {at or 'nothing'}, not {head}; run: teahouse migrate")
