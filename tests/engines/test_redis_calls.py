"""Calls to a server that is well: replies, error replies, scripts, sizes."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import NoScriptError, ResponseError

from teahouse.engines.redis import Redis, Script
from teahouse.problems import RedisUnavailable
from tests.engines.redis_clients import asked, connected, eventually
from tests.redis_servers import redis_server

COUNT = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest.fixture
async def redis(redis_shared):
    async with connected(redis_shared.url) as redis:
        yield redis


async def test_replies_come_as_redis_has_them(redis: Redis):
    assert await redis.call("SET", "tea", "绿茶") == b"OK"
    assert await redis.call("GET", b"tea") == "绿茶".encode()
    assert await redis.call("INCRBY", "cups", 3) == 3
    assert await redis.call("GET", "nothing") is None
    assert await redis.call("MGET", "tea", "nothing") == ["绿茶".encode(), None]
    assert await redis.call("ZADD", "prices", 2.5, b"\x00\xff") == 1
    assert await redis.call("ZRANGE", "prices", 0, -1, "WITHSCORES") == [b"\x00\xff", b"2.5"]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.binary(max_size=200) | st.text(max_size=50) | st.integers(-(2**62), 2**62), max_size=40))
async def test_whatever_is_written_is_read_back(redis: Redis, values):
    await redis.ask("DEL", "values")
    await asyncio.gather(*(redis.ask("RPUSH", "values", value) for value in values))
    expected = [value if isinstance(value, bytes) else str(value).encode() for value in values]
    assert await redis.ask("LRANGE", "values", 0, -1) == expected


async def test_the_calls_of_one_moment_leave_as_one_pipeline(redis: Redis):
    flushes = redis.batcher.sizes.flushes
    counts = await asyncio.gather(*(redis.ask("INCR", "cups") for _ in range(100)))
    assert counts == list(range(1, 101))
    assert redis.batcher.sizes.flushes == flushes + 1


async def test_an_error_reply_is_for_its_own_call_only(redis: Redis):
    before, wrong, unknown, after = await asyncio.gather(
        asked(redis, "SET", "tea", "green"),
        asked(redis, "INCR", "tea"),
        asked(redis, "BREW", "tea"),
        asked(redis, "GET", "tea"),
    )
    assert (before, after) == (b"OK", b"green")
    assert isinstance(wrong, ResponseError)
    assert str(wrong).startswith("ERR value is not an integer")
    assert isinstance(unknown, ResponseError)
    assert redis.connected


async def test_an_argument_that_is_none_is_refused_to_its_caller_alone(redis: Redis):
    first = redis.call("SET", "tea", "green")
    with pytest.raises(TypeError):
        redis.call("SET", "tea", None)  # type: ignore[arg-type]  # the mistake itself
    assert await first == b"OK"


async def test_an_error_within_a_reply_stays_there(redis: Redis):
    await redis.ask("SET", "tea", "green")
    reply = await redis.run(Script("return {1, redis.pcall('INCR', KEYS[1])}"), ["tea"], [])
    assert reply[0] == 1
    assert isinstance(reply[1], ResponseError)


async def test_a_script_runs_before_and_after_the_server_has_forgotten_it(redis: Redis):
    assert await redis.run(COUNT, ["cups"], [2]) == 2
    assert await redis.run(COUNT, ["cups"], [2]) == 4
    await redis.ask("SCRIPT", "FLUSH")
    with pytest.raises(NoScriptError):
        await redis.ask("EVALSHA", COUNT.sha, 1, "cups", 2)
    assert await asyncio.gather(*(redis.run(COUNT, ["cups"], [2]) for _ in range(3))) == [6, 8, 10]


async def test_a_failing_script_is_the_caller_s_error(redis: Redis):
    with pytest.raises(ResponseError, match="deliberate"):
        await redis.run(Script("return redis.error_reply('ERR deliberate')"), [], [])
    assert redis.connected


async def test_ten_thousand_commands_of_one_moment_are_all_answered(redis: Redis):
    counts = await asyncio.gather(*(redis.ask("INCR", "cups") for _ in range(10_000)))
    assert counts == list(range(1, 10_001))


async def test_a_reply_of_fifty_megabytes_comes_whole(redis: Redis):
    big = b"x" * 50_000_000
    assert await redis.ask("SET", "big", big) == b"OK"
    replies = await asyncio.gather(redis.ask("GET", "big"), redis.ask("STRLEN", "big"))
    assert replies[0] == big
    assert replies[1] == len(big)


async def test_a_pipeline_slower_than_the_time_out_is_answered_while_replies_keep_coming(redis_shared):
    slow = Script("local n = 0; for i = 1, 300000 do n = n + i end; return 1")
    async with connected(redis_shared.url, timeout_seconds=0.3) as redis:
        began = asyncio.get_running_loop().time()
        # Arguments that fill the server's input buffer: it answers what it has read before it reads on.
        replies = await asyncio.gather(*(redis.run(slow, [], [b"x" * 20_000]) for _ in range(400)))
        assert replies == [1] * 400
        assert asyncio.get_running_loop().time() - began > 0.3
        assert redis.losses == 0


async def test_a_busy_script_of_somebody_else_makes_calls_unavailable_and_then_not(tmp_path):
    with redis_server(tmp_path, lua_time_limit="50") as server:
        async with (
            connected(server.url, timeout_seconds=10) as redis,
            connected(server.url, timeout_seconds=10) as other,
        ):
            endless = other.call("EVAL", "while true do end", 0)
            answer = None
            for _ in range(1000):
                answer = await asked(redis, "GET", "tea")
                if isinstance(answer, RedisUnavailable):
                    break
                await asyncio.sleep(0.005)
            assert "BUSY" in str(answer)
            await redis.ask("SCRIPT", "KILL")
            with pytest.raises(ResponseError, match="killed"):
                await endless
            assert await redis.ask("GET", "tea") is None


async def test_a_full_memory_is_told_as_unavailable_and_reads_go_on(tmp_path):
    with redis_server(tmp_path, maxmemory="2mb", maxmemory_policy="noeviction") as server:
        async with connected(server.url) as redis:
            await redis.ask("SET", "tea", "green")
            filled = await asyncio.gather(*(asked(redis, "SET", f"big:{n}", b"x" * 100_000) for n in range(40)))
            refusals = [answer for answer in filled if answer != b"OK"]
            assert refusals
            assert all(isinstance(answer, RedisUnavailable) for answer in refusals)
            assert "maxmemory" in str(refusals[0])
            await redis.ask("CONFIG", "SET", "maxmemory", "1mb")
            assert isinstance(
                await asked(redis, "EVAL", "return redis.call('INCR', KEYS[1])", 1, "a"), RedisUnavailable
            )
            assert await redis.ask("GET", "tea") == b"green"
            assert redis.losses == 0


async def test_a_disk_that_cannot_be_written_is_told_as_unavailable_and_reads_go_on(tmp_path):
    with redis_server(tmp_path, save="3600 1") as server:
        async with connected(server.url) as redis:
            await redis.ask("SET", "tea", "green")
            # No file can take the place of a folder.
            (tmp_path / "dump.rdb").mkdir()
            await redis.ask("BGSAVE")
            await eventually(lambda: server.info("rdb_last_bgsave_status") == "err")
            answer = await asked(redis, "SET", "tea", "black")
            assert isinstance(answer, RedisUnavailable)
            assert "disk" in str(answer)
            assert await redis.ask("GET", "tea") == b"green"
            async with connected(server.url) as late:
                assert await late.ask("GET", "tea") == b"green"
