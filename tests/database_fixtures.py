"""Fixtures for SQL: import those that a folder needs in its ``conftest.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import DatabaseServer, MariaDb, Postgres, Replication, replication, running


@pytest.fixture(scope="session")
def mariadb_session() -> Iterator[DatabaseServer]:
    """One server for every test that neither kills nor reconfigures it."""
    with running(MariaDb) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_session() -> Iterator[DatabaseServer]:
    """One server for every test that neither kills nor reconfigures it."""
    with running(Postgres) as server:
        yield server


@pytest.fixture(scope="session")
def replication_session() -> Iterator[Replication]:
    """A primary and its replica; a test that stops one starts it again."""
    with replication() as pair:
        yield pair


@pytest.fixture(params=["mariadb", "postgres"])
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    """The session's server of each kind in turn. Do not kill it."""
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_session")
    return server


@pytest.fixture
def server_url(server: DatabaseServer) -> Iterator[str]:
    """A new database on a server."""
    name = server.new_database()
    yield server.url(name)
    server.sql(f"DROP DATABASE {name}")


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new database on each engine in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/tea.db"
        return
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_session")
    name = server.new_database()
    yield server.url(name)
    server.sql(f"DROP DATABASE {name}")
