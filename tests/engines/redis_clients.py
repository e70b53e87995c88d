"""Clients of the Redis engine, for its tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from teahouse.engines.redis import Redis
from teahouse.engines.redis_feed import Feed

DEADLINE_SECONDS = 15.0


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Redis]:
    redis = Redis(url, **options)
    await redis.connect()
    try:
        yield redis
    finally:
        await redis.aclose()


@asynccontextmanager
async def listening(redis: Redis, *hooks: Callable) -> AsyncIterator[Feed]:
    feed = Feed(redis)
    for hook in hooks:
        feed.on_catch_up(hook)
    await feed.start()
    try:
        yield feed
    finally:
        await feed.aclose()


async def eventually(is_so: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> float:
    """Waits until it is so; how long that took."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def outcome(call: Any) -> Any:
    """The reply, or the exception that came instead."""
    try:
        return await call
    except Exception as error:  # noqa: BLE001  # it is what the test looks at
        return error


async def asked(redis: Redis, *command: Any) -> Any:
    """``outcome`` of one command."""
    return await outcome(redis.ask(*command))
