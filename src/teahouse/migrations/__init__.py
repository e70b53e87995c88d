"""The schema's history, applied with Alembic.

Revisions are numbered files in ``versions/``; the number is the revision id, so that "is the schema up to date?" is
one query and Alembic is imported only when there is something to do.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from teahouse.engines.sql import Database

_HERE = Path(__file__).parent


def head() -> str:
    """The newest revision's id."""
    return max(path.name[:4] for path in (_HERE / "versions").glob("[0-9]*.py"))


async def current(database: Database) -> str | None:
    """The revision the database is at; None for an empty database."""
    # The primary's: a replica may not have heard of the last migration yet.
    async with database.reading() as connection:
        return await connection.run_sync(_current)


async def upgrade(database: Database) -> bool:
    """Brings the schema up to date; True when there was something to do.

    One node at a time. On SQLite and PostgreSQL it is one transaction; MySQL commits step by step, and where a
    migration died there the next one goes on.
    """
    if await current(database) == head():
        return False
    async with database.migrating() as connection:
        await connection.run_sync(_upgrade)
    return True


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return str(row[0]) if row else None


def _upgrade(connection: Connection) -> None:
    # Alembic costs a fifth of a second to import, and most starts have nothing to migrate.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
