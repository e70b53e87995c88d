"""Who is there, in memory and in Redis."""

from __future__ import annotations

import pytest

from teahouse.engines.redis import Redis
from teahouse.messages.presence_memory import MemoryPresence
from teahouse.messages.presence_redis import RedisPresence


@pytest.fixture(params=["memory", "redis"])
async def presence(request):
    if request.param == "memory":
        presence = MemoryPresence()
        await presence.start()
        yield presence
        await presence.aclose()
        return
    redis = Redis(request.getfixturevalue("redis_shared").url)
    await redis.connect()
    presence = RedisPresence(redis)
    await presence.start()
    yield presence
    await presence.aclose()
    await redis.aclose()


async def test_who_arrived_is_there_until_they_depart(presence):
    assert await presence.online(["1", "2"]) == set()
    assert await presence.arrived("1")
    assert await presence.online(["1", "2"]) == {"1"}
    assert await presence.departed("1")
    assert await presence.online(["1", "2"]) == set()


async def test_only_what_changes_is_told_as_a_change(presence):
    assert not await presence.departed("1")
    assert await presence.arrived("1")
    assert not await presence.arrived("1")
    assert await presence.departed("1")
    assert not await presence.departed("1")


async def test_many_can_be_asked_about_at_once(presence):
    for number in range(0, 3_000, 100):
        await presence.arrived(str(number))
    assert await presence.online({str(number) for number in range(3_000)}) == set(map(str, range(0, 3_000, 100)))
    assert await presence.online([]) == set()
