"""Redis for the bus and for presence; the loop is the one that serves."""

from __future__ import annotations

import uvloop

from tests.redis_fixtures import redis_alone, redis_session, redis_shared

__all__ = ["redis_alone", "redis_session", "redis_shared"]


def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop}
