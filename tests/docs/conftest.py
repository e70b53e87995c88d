"""Engines that the pages are held against."""

from tests.redis_fixtures import redis_session, redis_shared

__all__ = ["redis_session", "redis_shared"]
