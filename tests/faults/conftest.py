"""Engines for the shops of several nodes, and a shop whose ways to its engines go through proxies."""

from __future__ import annotations

import json
import secrets
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.database_fixtures import mariadb_session, postgres_session, replication_session
from tests.databases import DatabaseServer
from tests.faults.nodes import Shop, shop_of
from tests.journeys.people import fresh
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
        # Waiting for it once is within the bound of the tests, also on a slow machine; waiting twice is not.
        patience = {"TEAHOUSE_DATABASE__TIMEOUT_SECONDS": "4"}
        shop = stack.enter_context(
            shop_of(directory, redis, mariadb_session, redis_urls=urls, database_url=url, **patience)
        )
        yield Proxied(shop, to_redis, to_database)


def recovered(url: str) -> bool:
    """Whether the node reads and writes: somebody new can log in."""
    body = json.dumps({"code": f"sandbox-{fresh()}-{secrets.token_hex(8)}"}).encode()
    login = urllib.request.Request(f"{url}/v1/auth/wechat", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(login, timeout=20) as answer:
            return answer.status == 200 and is_ready(url)
    except OSError:
        return False


@pytest.fixture
def proxied(proxied_session: Proxied) -> Iterator[Proxied]:
    """The session's shop, with both engines in reach before and after."""
    yield proxied_session
    for proxy in (proxied_session.to_redis, proxied_session.to_database):
        proxy.carry()
        proxy.accept()
    until(lambda: all(recovered(node.url) for node in proxied_session.shop.nodes), "the nodes have recovered")
