"""Redis for the bus and for presence."""

from __future__ import annotations

from tests.redis_fixtures import redis_alone, redis_session, redis_shared

__all__ = ["redis_alone", "redis_session", "redis_shared"]
