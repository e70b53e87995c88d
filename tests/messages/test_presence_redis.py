"""Presence across nodes, of which some crash and Redis forgets."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from teahouse.engines.redis import Redis
from teahouse.messages.presence_redis import RedisPresence
from teahouse.problems import RedisUnavailable
from tests.engines.redis_clients import connected
from tests.messages.listeners import DEADLINE_SECONDS, eventually
from tests.redis_servers import redis_cluster


@asynccontextmanager
async def on(redis: Redis, **options):
    presence = RedisPresence(redis, **options)
    await presence.start()
    try:
        yield presence
    finally:
        await presence.aclose()


async def seen(presence: RedisPresence, user_ids: list[str], expected: set[str]) -> None:
    """Asks until it is so."""
    answers: list[set[str]] = []

    async def ask() -> bool:
        answers.append(await presence.online(user_ids))
        return answers[-1] == expected

    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await ask():
            await asyncio.sleep(0.02)


async def test_somebody_on_two_nodes_is_there_until_they_have_left_both(redis_shared):
    async with connected(redis_shared.url) as redis, on(redis) as one, on(redis) as other:
        assert await one.arrived("1")
        assert not await other.arrived("1")
        assert not await one.departed("1")
        assert await one.online(["1"]) == {"1"}
        assert await other.departed("1")
        assert await one.online(["1"]) == set()


async def test_a_node_that_closes_when_everybody_has_departed_leaves_nothing(redis_shared):
    async with connected(redis_shared.url) as redis, on(redis) as one:
        async with on(redis) as other:
            await other.arrived("1")
            assert await one.online(["1"]) == {"1"}
            assert await other.departed("1")
        assert await one.online(["1"]) == set()
        assert redis_shared.cli("KEYS", "*presence*:*") == []


async def test_of_whom_a_node_that_closes_leaves_behind_another_one_tells(redis_shared):
    gone: list[str] = []
    async with connected(redis_shared.url) as redis:
        one = RedisPresence(redis, renew_seconds=0.1)
        one.on_gone(gone.extend)
        await one.start()
        async with on(redis) as other:
            await other.arrived("1")
            await other.arrived("2")
            await one.arrived("2")
        assert await one.online(["1", "2"]) == {"2"}
        await eventually(lambda: gone)
        await one.aclose()
        assert gone == ["1"]


async def test_whoever_others_may_have_been_wrong_about_is_told_of_once(redis_shared):
    times: list[int] = []
    async with connected(redis_shared.url) as redis:
        one = RedisPresence(redis)
        one.on_restored(lambda: times.append(1))
        await one.start()
        await one.arrived("1")
        await one._renew()
        assert times == []
        # Forgotten, and then told of somebody else, so that the number is right again.
        redis_shared.cli("FLUSHALL")
        await one.departed("1")
        await one.arrived("2")
        await one._renew()
        await one._renew()
        assert times == [1]
        await one.aclose()


async def test_a_node_that_died_is_forgotten_and_one_that_lives_is_not(redis_shared):
    pace = {"renew_seconds": 0.2, "stale_seconds": 1.0}
    async with connected(redis_shared.url) as redis, on(redis, **pace) as one, on(redis, **pace) as other:
        await one.arrived("1")
        await other.arrived("2")
        assert await one.online(["1", "2"]) == {"1", "2"}
        other._renewing.cancel()
        await seen(one, ["1", "2"], {"1"})
        # It comes back to life, say after a pause of its machine.
        assert await other.arrived("3")
        await other._renewed()
        await seen(one, ["1", "2", "3"], {"1", "2", "3"})


async def test_what_redis_forgot_and_what_it_was_not_told_is_put_right(redis_shared):
    async with connected(redis_shared.url) as redis, on(redis, renew_seconds=0.1) as presence:
        for number in range(2_500):
            presence._here.add(str(number))
        presence._owing = True
        await seen(presence, ["0", "1", "2499"], {"0", "1", "2499"})
        redis_shared.cli("FLUSHALL")
        await seen(presence, ["0", "1", "2499"], {"0", "1", "2499"})
        presence._here.clear()
        presence._owing = True
        await seen(presence, ["0", "1", "2499"], set())


async def test_who_arrives_while_redis_is_away_is_there_afterwards(redis_alone):
    async with connected(redis_alone.url) as redis, on(redis, renew_seconds=0.1) as presence:
        redis_alone.kill()
        await eventually(lambda: not redis.connected)
        with pytest.raises(RedisUnavailable):
            await presence.arrived("1")
        redis_alone.start()
        await eventually(lambda: redis.connected)
        await seen(presence, ["1"], {"1"})


async def test_renewing_costs_one_call_however_many_are_there(redis_shared):
    async with connected(redis_shared.url) as redis, on(redis) as presence:
        for number in range(100):
            await presence.arrived(str(number))
        calls = redis.batcher.sizes.calls
        await presence._renew()
        assert redis.batcher.sizes.calls == calls + 1


async def test_in_a_cluster_one_script_sees_every_node(tmp_path):
    with redis_cluster(tmp_path) as cluster:
        async with connected(cluster.url) as redis, on(redis) as one, on(redis) as other:
            assert await one.arrived("1")
            assert not await other.arrived("1")
            assert await other.arrived("2")
            assert await one.online(["1", "2", "3"]) == {"1", "2"}
            assert not await one.departed("1")
            assert await other.departed("1")
            one._here.add("4")
            one._owing = True
            await one._renew()
            assert await other.online(["1", "2", "4"]) == {"2", "4"}
