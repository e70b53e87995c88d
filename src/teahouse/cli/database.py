"""The database for commands that run beside the server, or before there ever was one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
    """Brings the schema up to date, never under a running server; returns the revision before and the one now."""
    before, head = await migrations.current(database), migrations.head()
    if before != head:
        with datadir.locked(settings.data_dir):
            await migrations.upgrade(database)
    return before, head


async def require_schema(database: Database) -> None:
    """Raises ``SettingsError`` where the schema is not this version's."""
    at, head = await migrations.current(database), migrations.head()
    if at != head:
        raise SettingsError(f"database: its schema is at {at or 'nothing'}, not {head}; run: teahouse migrate")
