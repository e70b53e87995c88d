"""Every test gets a database of its own."""

from __future__ import annotations

import pytest

from teahouse.engines.sql import Database
from tests.engines.cups import cups


@pytest.fixture
async def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/tea.db")
    await database.connect()
    async with database.transaction() as connection:
        await connection.run_sync(cups.metadata.create_all)
    yield database
    await database.aclose()
