"""Every test gets a shop of its own: on SQL alone, and on Redis over SQL, where its module does not say otherwise."""

from __future__ import annotations

import pytest

from tests.redis_fixtures import redis_alone, redis_session, redis_shared
from tests.sales.shop import opened_shop
from tests.sales.shop_redis import opened_redis_shop

__all__ = ["redis_alone", "redis_session", "redis_shared"]


@pytest.fixture(params=["sql", "redis"])
def keeper(request):
    """Who decides about stock. A module of one ledger's own overrides this."""
    return request.param


@pytest.fixture
async def shop(keeper, tmp_path, request):
    if keeper == "sql":
        async with opened_shop(tmp_path) as shop:
            yield shop
    else:
        async with opened_redis_shop(request.getfixturevalue("redis_shared").url, tmp_path) as shop:
            yield shop
