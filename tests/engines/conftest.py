"""Every test gets a database of its own."""

from __future__ import annotations

import pytest

from teahouse.engines.sql import Database
from tests.database_fixtures import (
    mariadb_session,
    new_server_url,
    postgres_session,
    replication_session,
    server,
    server_url,
)
from tests.engines.cups import cups
from tests.redis_fixtures import redis_alone, redis_session, redis_shared

__all__ = ["mariadb_session", "new_server_url", "postgres_session", "replication_session", "server", "server_url"]
__all__ += ["redis_alone", "redis_session", "redis_shared"]


@pytest.fixture
async def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/tea.db")
    await database.connect()
    async with database.transaction() as connection:
        await connection.run_sync(cups.metadata.create_all)
    yield database
    await database.aclose()
