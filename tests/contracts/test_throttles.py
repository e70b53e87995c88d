"""Limits keep their promises in memory and in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from teahouse.accounts.throttle import Limit, Throttle
from teahouse.accounts.throttle_memory import ThrottleMemory
from teahouse.accounts.throttle_redis import ThrottleRedis
from teahouse.engines.redis import Redis
from tests.clocks import ManualClock
from tests.redis_servers import RedisServer

THREE = Limit("three", 3, 30)


@pytest.fixture
async def redis(redis_shared: RedisServer) -> AsyncIterator[Redis]:
    redis = Redis(redis_shared.url)
    await redis.connect()
    yield redis
    await redis.aclose()


@pytest.fixture(params=["memory", "redis"])
def throttle(request: pytest.FixtureRequest, clock: ManualClock) -> Throttle:
    if request.param == "memory":
        return ThrottleMemory(clock=clock)
    return ThrottleRedis(request.getfixturevalue("redis"), clock=clock)


async def test_a_key_must_wait_once_its_bucket_is_full(throttle: Throttle, clock: ManualClock):
    for _ in range(3):
        assert await throttle.wait(THREE, "a") == 0
        await throttle.add(THREE, "a")
    assert await throttle.wait(THREE, "a") == 10
    assert await throttle.wait(THREE, "b") == 0
    clock.advance(10)
    assert await throttle.wait(THREE, "a") == 0
    await throttle.add(THREE, "a")
    assert await throttle.wait(THREE, "a") == 10


async def test_limits_of_different_names_have_nothing_to_do_with_each_other(throttle: Throttle):
    other = Limit("other", 1, 60)
    await throttle.add(other, "a")
    assert await throttle.wait(other, "a") == 60
    assert await throttle.wait(THREE, "a") == 0


async def test_what_is_refused_is_not_counted(throttle: Throttle, clock: ManualClock):
    assert [await throttle.take(THREE, "a") for _ in range(6)] == [0, 0, 0, 10, 10, 10]
    clock.advance(10)
    assert [await throttle.take(THREE, "a") for _ in range(2)] == [0, 10]


async def test_what_happened_anyway_is_counted_beyond_the_limit(throttle: Throttle, clock: ManualClock):
    for _ in range(5):
        await throttle.add(THREE, "a")
    assert await throttle.wait(THREE, "a") == 30
    clock.advance(30)
    assert await throttle.wait(THREE, "a") == 0


async def test_of_many_at_once_as_many_pass_as_may(throttle: Throttle):
    waits = await asyncio.gather(*(throttle.take(THREE, "a") for _ in range(100)))
    assert waits.count(0) == 3


async def test_the_wall_clock_does_not_matter(throttle: Throttle, clock: ManualClock):
    for _ in range(3):
        await throttle.add(THREE, "a")
    clock.step_wall_clock(-10_000)
    assert await throttle.wait(THREE, "a") == 10


@pytest.mark.parametrize("key", ["", " ", "\x00", "\ud800", "茶" * 10_000, "a:b{c}\r\n*1\r\n$8\r\nFLUSHALL\r\n"])
async def test_any_text_is_a_key(throttle: Throttle, key: str):
    for _ in range(3):
        assert await throttle.take(THREE, key) == 0
    assert await throttle.take(THREE, key) == 10
    assert await throttle.take(THREE, key + "x") == 0


async def test_both_backends_count_alike(redis: Redis):
    """Whatever the limit and the gaps, memory and Redis say the same."""
    clock = ManualClock()
    in_memory, in_redis = ThrottleMemory(clock=clock), ThrottleRedis(redis, clock=clock)
    number, loop = 0, asyncio.get_running_loop()

    @hypothesis_settings(max_examples=40, deadline=None)
    @given(
        st.integers(1, 20),
        st.floats(1, 1000),
        st.lists(st.tuples(st.floats(0, 50), st.sampled_from(["wait", "add", "take"])), max_size=40),
    )
    def alike(events: int, seconds: float, steps) -> None:
        nonlocal number
        number += 1
        limit = Limit(f"n{number}", events, seconds)

        async def play() -> None:
            for gap, verb in steps:
                clock.advance(gap)
                told = [await getattr(throttle, verb)(limit, "a") for throttle in (in_memory, in_redis)]
                assert told[0] == told[1]

        asyncio.run_coroutine_threadsafe(play(), loop).result(60)

    await asyncio.to_thread(alike)


# --- Redis alone ------------------------------------------------------------------------------------------------------


async def test_two_nodes_count_together_by_the_servers_time(redis: Redis, redis_shared: RedisServer):
    other = Redis(redis_shared.url)
    await other.connect()
    nodes = [ThrottleRedis(redis), ThrottleRedis(other)]
    hour = Limit("hour", 10, 36_000)
    waits = await asyncio.gather(*(nodes[number % 2].take(hour, "a") for number in range(50)))
    assert waits.count(0) == 10
    assert 3598 <= await nodes[0].wait(hour, "a") <= 3600
    await other.aclose()


async def test_a_bucket_in_redis_goes_when_it_has_run_dry_and_names_nobody(redis: Redis, redis_shared: RedisServer):
    throttle = ThrottleRedis(redis)
    for _ in range(2):
        await throttle.add(THREE, "ada@example.com")
    (bucket,) = redis_shared.cli("KEYS", "*")
    assert bucket.startswith("teahouse:throttle:three:")
    assert "ada" not in bucket
    assert 19_000 < redis_shared.cli("PTTL", bucket) <= 20_000
    await throttle.wait(THREE, "nobody")
    assert redis_shared.cli("DBSIZE") == 1
