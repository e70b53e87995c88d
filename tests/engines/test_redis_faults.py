"""Connections that die, servers that go and come, networks that swallow: what callers are told, and when."""

from __future__ import annotations

import asyncio
import time

import pytest

from teahouse.engines.redis import Redis, Script
from teahouse.problems import OutcomeUnknown, RedisUnavailable
from tests.engines.redis_clients import asked, connected, eventually, outcome
from tests.proxies import DOWN, UP, proxy_to
from tests.redis_servers import RedisServer, free_port

COUNT = Script("return redis.call('INCR', KEYS[1])")


@pytest.fixture
def proxy(redis_shared):
    with proxy_to(redis_shared.port) as proxy:
        yield proxy


@pytest.fixture
async def redis(proxy, redis_shared):
    async with connected(proxy.through(redis_shared.url), timeout_seconds=0.5) as redis:
        yield redis


# --- what never left ---


async def test_a_connection_that_died_while_idle_is_replaced_before_anybody_calls(redis: Redis, proxy):
    proxy.cut()
    await eventually(lambda: redis.losses == 1 and redis.connected, seconds=2)
    assert await redis.ask("INCR", "cups") == 1


@pytest.mark.parametrize("fault", ["cut", "half_close"])
async def test_a_call_right_after_the_connection_died_is_refused_and_not_unknown(redis: Redis, proxy, fault):
    """The loop has had no turn since: only the kernel knows that the other end is gone."""
    for _ in range(20):
        await eventually(lambda: redis.connected)
        proxy.cut() if fault == "cut" else proxy.half_close(DOWN)
        answer = await asked(redis, "INCR", "cups")
        assert isinstance(answer, RedisUnavailable), answer
    await eventually(lambda: redis.connected)
    assert await redis.ask("GET", "cups") is None


async def test_what_a_killed_client_had_not_sent_is_refused(redis: Redis, redis_shared):
    redis_shared.cli("CLIENT", "KILL", "TYPE", "normal")
    # Redis hangs up when it has answered whoever asked for it, and before it answers the next.
    redis_shared.cli("PING")
    assert isinstance(await asked(redis, "INCR", "cups"), RedisUnavailable)
    await eventually(lambda: redis.connected)
    assert await redis.ask("INCR", "cups") == 1


# --- what left ---


async def test_calls_whose_answers_were_cut_off_are_unknown_and_those_answered_are_not(redis: Redis, proxy):
    await redis.ask("SET", "big", b"x" * 100_000)
    # All have left before the first answer comes: who asks a server that has hung up does not read on.
    proxy.delay(0.05, UP)
    proxy.cut_when_carried(300_000, DOWN)
    answers = await asyncio.gather(*(asked(redis, "GET", "big") for _ in range(10)))
    answered = [answer for answer in answers if isinstance(answer, bytes)]
    assert 1 <= len(answered) < 10
    assert all(isinstance(answer, OutcomeUnknown) for answer in answers[len(answered) :])


async def test_a_server_that_swallows_holds_a_call_no_longer_than_the_time_out(redis: Redis, proxy):
    proxy.swallow()
    began = time.monotonic()
    answers = await asyncio.gather(*(asked(redis, "INCR", "cups") for _ in range(50)))
    assert 0.4 < time.monotonic() - began < 1.0
    assert all(isinstance(answer, OutcomeUnknown) for answer in answers)

    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(RedisUnavailable) as refusal:
            redis.call("INCR", "cups")
        assert refusal.value.headers["Retry-After"]
    assert time.monotonic() - began < 0.1

    proxy.carry()
    proxy.cut()
    await eventually(lambda: redis.connected, seconds=3)
    assert await redis.ask("INCR", "cups") == 1


async def test_a_silent_connection_is_asked_before_anybody_needs_it(redis: Redis, proxy):
    proxy.swallow()
    await eventually(lambda: not redis.connected, seconds=4)
    with pytest.raises(RedisUnavailable):
        redis.call("INCR", "cups")


async def test_an_answer_that_waited_for_a_loop_that_was_held_up_counts(redis: Redis):
    call = redis.call("INCR", "cups")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    deadline = time.monotonic() + 0.8
    while time.monotonic() < deadline:
        pass
    assert await call == 1


async def test_a_delay_within_the_time_out_is_only_slow(redis: Redis, proxy):
    proxy.delay(0.15)
    assert await redis.ask("INCR", "cups") == 1
    assert redis.losses == 0


# --- the server goes and comes ---


async def test_calls_are_refused_at_once_while_the_server_is_away_and_come_back_with_it(redis_alone: RedisServer):
    async with connected(redis_alone.url) as redis:
        assert await redis.run(COUNT, ["cups"], []) == 1
        incarnation = redis.incarnation
        redis_alone.kill()
        for _ in range(200):
            began = time.monotonic()
            answer = await asked(redis, "INCR", "cups")
            assert isinstance(answer, RedisUnavailable)
            assert time.monotonic() - began < 0.2
        redis_alone.start()
        await eventually(lambda: redis.connected, seconds=3)
        assert redis.incarnation != incarnation
        # A new server does not know the script.
        assert await redis.run(COUNT, ["cups"], []) == 2


async def test_a_paused_server_is_away_and_its_late_answers_reach_nobody(redis_alone: RedisServer):
    async with connected(redis_alone.url, timeout_seconds=0.4) as redis:
        redis_alone.pause()
        assert isinstance(await asked(redis, "INCR", "cups"), OutcomeUnknown)
        redis_alone.resume()
        await eventually(lambda: redis.connected, seconds=4)
        assert await redis.ask("SET", "tea", "green") == b"OK"
        assert await redis.ask("GET", "cups") in (b"1", None)


async def test_on_connect_runs_after_every_connection(redis_alone: RedisServer):
    redis = Redis(redis_alone.url)
    runs: list[str] = []

    async def greet() -> None:
        await redis.ask("SET", "greeted", redis.incarnation)
        runs.append(redis.incarnation)

    redis.on_connect.append(greet)
    await redis.connect()
    try:
        redis_alone.kill()
        redis_alone.start()
        await eventually(lambda: len(set(runs)) == 2)
    finally:
        await redis.aclose()


async def test_a_hook_that_fails_is_told_and_tried_again(redis_shared, caplog):
    redis = Redis(redis_shared.url)
    runs = 0

    async def stumble() -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            raise KeyError("a bug of the hook's own")

    redis.on_connect.append(stumble)
    await redis.connect()
    try:
        redis_shared.cli("CLIENT", "KILL", "TYPE", "normal")
        await eventually(lambda: runs == 3)
        await eventually(lambda: redis.connected)
        assert "a bug of the hook's own" in caplog.text
    finally:
        await redis.aclose()


async def test_no_server_at_all_is_unavailable_and_another_try_may_succeed(tmp_path):
    server = RedisServer(tmp_path, port=free_port())
    redis = Redis(server.url)
    with pytest.raises(RedisUnavailable, match="refused|Connect call failed"):
        await redis.connect()
    with pytest.raises(RedisUnavailable) as refused:
        redis.call("PING")
    assert str(server.port) not in refused.value.detail
    server.start()
    try:
        await redis.connect()
        await redis.ping()
    finally:
        await redis.aclose()
        server.kill()


async def test_a_server_that_accepts_and_says_nothing_is_unavailable_in_time(redis_alone: RedisServer):
    redis_alone.pause()
    redis = Redis(redis_alone.url, timeout_seconds=0.3)
    began = time.monotonic()
    with pytest.raises(RedisUnavailable, match="no answer in time"):
        await redis.connect()
    assert time.monotonic() - began < 1
    await redis.aclose()


async def test_something_that_is_no_redis_is_unavailable():
    async def greet(_reader, writer) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as stranger:
        redis = Redis(f"redis://127.0.0.1:{stranger.sockets[0].getsockname()[1]}")
        with pytest.raises(RedisUnavailable):
            await redis.connect()
        await redis.aclose()


# --- cancellation and the end ---


async def test_a_cancelled_caller_disturbs_nobody(redis: Redis):
    calls = [asyncio.ensure_future(redis.ask("INCR", "cups")) for _ in range(20)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    counts = [answer for answer in answers if isinstance(answer, int)]
    assert len(counts) == 10
    assert counts == sorted(set(counts))
    assert await redis.ask("GET", "cups") is not None
    assert redis.losses == 0


async def test_a_cancelled_flush_gives_the_connection_up_and_a_new_one_answers(redis: Redis, proxy):
    proxy.delay(0.1)
    call = redis.call("INCR", "cups")
    await eventually(lambda: proxy.carried[UP] and redis.batcher.waiting == 0)
    (flusher,) = redis.batcher._flushers
    flusher.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    proxy.carry()
    await eventually(lambda: redis.connected and redis.losses == 1)
    # Not the late answer to the first call.
    assert await redis.ask("GET", "tea") is None


async def test_closing_finishes_what_was_accepted(redis_shared):
    redis = Redis(redis_shared.url)
    await redis.connect()
    calls = [redis.call("INCR", "cups") for _ in range(3000)]
    await redis.aclose()
    assert [call.result() for call in calls] == list(range(1, 3001))
    answer = await outcome(_call(redis))
    assert isinstance(answer, RedisUnavailable)


async def _call(redis: Redis) -> None:
    await redis.call("PING")


async def test_closing_while_the_server_is_away_ends_at_once(redis_alone: RedisServer):
    redis = Redis(redis_alone.url)
    await redis.connect()
    redis_alone.kill()
    await eventually(lambda: not redis.connected)
    began = time.monotonic()
    await redis.aclose()
    assert time.monotonic() - began < 0.2
    assert not [task for task in asyncio.all_tasks() if "Redis" in task.get_name()]


async def test_closing_while_a_call_waits_ends_within_the_time_out(redis: Redis, proxy):
    proxy.swallow(DOWN)
    call = redis.call("INCR", "cups")
    began = time.monotonic()
    await redis.aclose()
    assert time.monotonic() - began < 1
    assert isinstance(await outcome(call), OutcomeUnknown)
