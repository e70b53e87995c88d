"""One suite for every stock ledger and its orders: SQL alone, and Redis over an archive. SQLite: ``tests/sales``."""

import pytest

from tests.database_fixtures import server, server_url
from tests.sales.shop import opened_shop
from tests.sales.shop_redis import opened_redis_shop
from tests.sales.test_orders import *  # noqa: F403  # the same promises, on every engine
from tests.sales.test_purchases import *  # noqa: F403

__all__ = ["server", "server_url"]


@pytest.fixture(params=["sql", "redis"])
def keeper(request):
    return request.param


@pytest.fixture
async def shop(keeper, tmp_path, server_url, request):
    if keeper == "sql":
        async with opened_shop(tmp_path, server_url) as shop:
            yield shop
    else:
        async with opened_redis_shop(request.getfixturevalue("redis_shared").url, tmp_path, server_url) as shop:
            yield shop
