"""Engines for the shops of several nodes, and a shop whose ways to its engines go through proxies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.database_fixtures import mariadb_session, postgres_session, replication_session
from tests.databases import DatabaseServer
from tests.faults.nodes import Shop, shop_of
from tests.journeys.servers import is_ready, until
from tests.proxies import Proxy, proxy_to
from tests.redis_fixtures import redis_alone
from tests.redis_servers import RedisServer, redis_server

__all__ = ["mariadb_session", "postgres_session", "redis_alone", "replication_session"]


class Proxied(NamedTuple):
    """A shop of two nodes, with what lies between them and their engines."""

    shop: Shop
    to_redis: Proxy
    to_database: Proxy


@pytest.fixture(scope="session")
def lasting_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that nobody kills, with every command on disk before it is answered."""
    with redis_server(tmp_path_factory.mktemp("redis"), aof=True) as server:
        yield server


@pytest.fixture(scope="session")
def proxied_session(
    tmp_path_factory: pytest.TempPathFactory, lasting_redis: RedisServer, mariadb_session: DatabaseServer
) -> Iterator[Proxied]:
    """One for all tests that leave it as they found it; take ``proxied``."""
    directory: Path = tmp_path_factory.mktemp("proxied")
    with proxy_to(lasting_redis.port) as to_redis, proxy_to(mariadb_session.port) as to_database:
        url = to_database.through(mariadb_session.url("{name}"))
        urls = [to_redis.through(lasting_redis.url)] * 2
        with shop_of(directory, lasting_redis, mariadb_session, redis_urls=urls, database_url=url) as shop:
            yield Proxied(shop, to_redis, to_database)


@pytest.fixture
def proxied(proxied_session: Proxied) -> Iterator[Proxied]:
    """The session's shop, with both engines in reach before and after."""
    yield proxied_session
    for proxy in (proxied_session.to_redis, proxied_session.to_database):
        proxy.carry()
        proxy.accept()
    until(lambda: all(is_ready(node.url) for node in proxied_session.shop.nodes), "the nodes have recovered")
