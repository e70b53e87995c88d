"""Fixtures for Redis: ``from tests.redis_fixtures import redis_alone, redis_shared`` in a folder's ``conftest.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_servers import RedisServer, redis_server


@pytest.fixture(scope="session")
def redis_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for every test that neither kills nor reconfigures it; take ``redis_shared``, which empties it."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_shared(redis_session: RedisServer) -> RedisServer:
    """The session's server, empty. Do not kill it."""
    redis_session.cli("FLUSHALL")
    redis_session.cli("SCRIPT", "FLUSH")
    return redis_session


@pytest.fixture
def redis_alone(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, with every command on disk before it is answered: kill it, restart it."""
    with redis_server(tmp_path / "redis", aof=True) as server:
        yield server
