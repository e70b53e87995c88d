"""Pipelines that overlap on one connection: each has its own replies, and what ends the connection ends them all."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teahouse.engines.redis import Redis, Script
from teahouse.problems import OutcomeUnknown, RedisUnavailable
from tests.engines.redis_clients import connected, eventually, outcome
from tests.proxies import DOWN, UP, proxy_to

COUNT = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest.fixture
def proxy(redis_shared):
    with proxy_to(redis_shared.port) as proxy:
        yield proxy


@pytest.fixture
async def redis(proxy, redis_shared):
    async with connected(proxy.through(redis_shared.url), timeout_seconds=0.5) as redis:
        yield redis


async def sent(redis: Redis, *command):
    return await outcome(redis.send(*command))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 200_000), min_size=1, max_size=12))
async def test_each_pipeline_has_its_own_replies_however_they_arrive(redis: Redis, sizes):
    calls = [redis.send("ECHO", f"{place}:".encode() + b"x" * size) for place, size in enumerate(sizes)]
    gathered = [redis.call("ECHO", str(place)) for place in range(len(sizes))]
    replies = await asyncio.gather(*calls)
    assert [(reply.partition(b":")[0], len(reply.partition(b":")[2])) for reply in replies] == [
        (str(place).encode(), size) for place, size in enumerate(sizes)
    ]
    assert await asyncio.gather(*gathered) == [str(place).encode() for place in range(len(sizes))]


async def test_a_second_pipeline_leaves_before_the_first_is_answered(redis: Redis, proxy):
    proxy.delay(0.1)
    began = time.monotonic()
    assert await asyncio.gather(*(sent(redis, "INCR", "cups") for _ in range(5))) == [1, 2, 3, 4, 5]
    assert time.monotonic() - began < 0.5


async def test_a_script_that_the_server_has_forgotten_runs_once_for_each_of_two(redis: Redis):
    await redis.ask("SCRIPT", "FLUSH")
    counts = await asyncio.gather(*(redis.send_script(COUNT, ["cups"], [1]) for _ in range(2)))
    assert sorted(counts) == [1, 2]


async def test_a_server_that_swallows_holds_neither_of_two_longer_than_the_time_out(redis: Redis, proxy):
    proxy.swallow()
    began = time.monotonic()
    first = asyncio.ensure_future(sent(redis, "INCR", "cups"))
    await eventually(lambda: proxy.lost[UP])
    answers = await asyncio.gather(first, sent(redis, "INCR", "cups"))
    assert 0.4 < time.monotonic() - began < 1.0
    assert [type(answer) for answer in answers] == [OutcomeUnknown, OutcomeUnknown]
    assert redis.losses == 1


async def test_the_time_out_of_a_later_pipeline_counts_from_the_last_sign_of_the_server(redis: Redis, proxy):
    for _ in range(3):
        assert await sent(redis, "PING") == b"PONG"
    proxy.swallow()
    began = time.monotonic()
    assert isinstance(await sent(redis, "INCR", "cups"), OutcomeUnknown)
    assert 0.4 < time.monotonic() - began < 1.0


async def test_what_was_answered_before_the_connection_broke_counts_and_the_rest_is_unknown(redis: Redis, proxy):
    await redis.ask("SET", "big", b"x" * 100_000)
    # All have left before the first answer comes: who asks a server that has hung up does not read on.
    proxy.delay(0.05, UP)
    proxy.cut_when_carried(300_000, DOWN)
    answers = await asyncio.gather(*(sent(redis, "GET", "big") for _ in range(10)))
    answered = [answer for answer in answers if isinstance(answer, bytes)]
    assert 1 <= len(answered) < 10
    assert all(isinstance(answer, OutcomeUnknown) for answer in answers[len(answered) :])


async def test_one_that_is_cancelled_makes_the_other_unknown_and_no_reply_reaches_a_stranger(redis: Redis, proxy):
    proxy.delay(0.1)
    before = proxy.carried[UP]
    first, second = (asyncio.ensure_future(redis.send("INCR", "cups")) for _ in range(2))
    await eventually(lambda: proxy.carried[UP] > before)
    first.cancel()
    assert isinstance(await outcome(second), OutcomeUnknown)
    proxy.carry()
    await eventually(lambda: redis.connected and redis.losses == 1)
    assert await sent(redis, "GET", "tea") is None


async def test_nothing_leaves_while_there_is_no_connection(redis: Redis, proxy):
    proxy.refuse()
    proxy.cut()
    await eventually(lambda: not redis.connected)
    assert isinstance(await sent(redis, "INCR", "cups"), RedisUnavailable)
