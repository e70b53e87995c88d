"""Engines for the shops of several nodes, and a shop whose ways to its engines go through proxies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.database_fixtures import mariadb_session, postgres_session, replication_session
from tests.databases import DatabaseServer
from tests.faults.nodes import Shop, shop_of
from tests.journeys.servers import is_ready, until
from tests.proxies import Proxy, proxy_to
from tests.redis_fixtures import redis_alone
from tests.redis_servers import redis_server

__all__ = ["mariadb_session", "postgres_session", "redis_alone", "replication_session"]


class Proxied(NamedTuple):
    """A shop of two nodes, with what lies between them and their engines."""

    shop: Shop
    to_redis: Proxy
    to_database: Proxy


@pytest.fixture(scope="session")
def proxied_session(tmp_path_factory: pytest.TempPathFactory, mariadb_session: DatabaseServer) -> Iterator[Proxied]:
    """One for all tests that leave it as they found it; take ``proxied``."""
    directory: Path = tmp_path_factory.mktemp("proxied")
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(directory / "redis", aof=True))
        to_redis = stack.enter_context(proxy_to(redis.port))
        to_database = stack.enter_context(proxy_to(mariadb_session.port))
        url = to_database.through(mariadb_session.url("{name}"))
        urls = [to_redis.through(redis.url)] * 2
        shop = stack.enter_context(shop_of(directory, redis, mariadb_session, redis_urls=urls, database_url=url))
        yield Proxied(shop, to_redis, to_database)


@pytest.fixture
def proxied(proxied_session: Proxied) -> Iterator[Proxied]:
    """The session's shop, with both engines in reach before and after."""
    yield proxied_session
    for proxy in (proxied_session.to_redis, proxied_session.to_database):
        proxy.carry()
        proxy.accept()
    until(lambda: all(is_ready(node.url) for node in proxied_session.shop.nodes), "the nodes have recovered")
