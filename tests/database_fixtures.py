"""Fixtures for SQL: import those that a folder needs in its ``conftest.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
    """A database on a server, without a row in it."""
    with _lent(server) as url:
        yield url


@pytest.fixture
def new_server_url(server: DatabaseServer) -> Iterator[str]:
    """A database on a server, without a table in it."""
    with _new(server) as url:
        yield url


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database on each engine in turn, without a row in it."""
    with _on(request, tmp_path, _lent) as url:
        yield url


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def new_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database on each engine in turn, without a table in it."""
    with _on(request, tmp_path, _new) as url:
        yield url


def _on(
    request: pytest.FixtureRequest, folder: Path, how: Callable[[DatabaseServer], AbstractContextManager[str]]
) -> AbstractContextManager[str]:
    if request.param == "sqlite":
        return nullcontext(f"sqlite:///{folder}/tea.db")
    return how(request.getfixturevalue(f"{request.param}_session"))


@contextmanager
def _lent(server: DatabaseServer) -> Iterator[str]:
    name = server.lend()
    yield server.url(name)
    server.take_back(name)


@contextmanager
def _new(server: DatabaseServer) -> Iterator[str]:
    name = server.new_database()
    yield server.url(name)
    server.sql(f"DROP DATABASE {name}")
