"""Sentinels and Clusters: calls go where they belong, and come back after a primary has died."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from teahouse.engines.redis import Script
from teahouse.engines.redis_cluster import slot_of
from teahouse.problems import OutcomeUnknown, RedisUnavailable
from tests.engines.redis_clients import asked, connected, eventually, listening
from tests.redis_servers import RedisServer, free_port, redis_cluster, redis_sentinels

MOVE = Script("redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[2])")


def follows(server: RedisServer) -> bool:
    try:
        return server.info("role") == "slave"
    except RedisConnectionError:
        # A Sentinel hangs up on everybody when it makes a server a replica.
        return False


async def test_after_a_failover_calls_come_back_at_the_other_server(tmp_path):
    with redis_sentinels(tmp_path) as group:
        async with connected(group.url) as redis, listening(redis) as feed:
            await redis.ask("SET", "tea", "green")
            await redis.ask("WAIT", 1, 1000)
            before, first = redis.incarnation, group.primary
            first.kill()
            began = time.monotonic()
            while (answer := await asked(redis, "INCR", "cups")) != 1:
                assert isinstance(answer, RedisUnavailable | OutcomeUnknown), answer
                assert time.monotonic() - began < 15
                await asyncio.sleep(0.01)
            assert redis.incarnation != before
            assert redis.incarnation == group.primary.info("run_id")
            assert await redis.ask("GET", "tea") == b"green"
            await eventually(lambda: feed.current)
            # The old one comes back as a replica, which changes nothing.
            first.start()
            await eventually(lambda: follows(first))
            assert await redis.ask("INCR", "cups") == 2


async def test_a_primary_that_was_demoted_is_left_for_the_new_one(tmp_path):
    with redis_sentinels(tmp_path) as group:
        async with connected(group.url) as redis:
            before = redis.incarnation
            await eventually(lambda: group.sentinels[0].cli("SENTINEL", "FAILOVER", "tea") == "OK")
            await eventually(lambda: redis.connected and redis.incarnation != before)
            assert await redis.ask("INCR", "cups") == 1


async def test_dead_sentinels_and_an_unknown_service_are_told(tmp_path):
    with redis_sentinels(tmp_path) as group:
        for sentinel in group.sentinels[:2]:
            sentinel.pause()
        async with connected(group.url) as redis:
            assert await redis.ask("INCR", "cups") == 1
        for sentinel in group.sentinels[:2]:
            sentinel.resume()
        with pytest.raises(RedisUnavailable, match="coffee"):
            async with connected(group.url.replace("/tea/", "/coffee/")):
                pass
    with pytest.raises(RedisUnavailable):
        async with connected(f"redis+sentinel://127.0.0.1:{free_port()}/tea/0"):
            pass


async def test_a_replica_is_no_place_to_write(tmp_path):
    with redis_sentinels(tmp_path) as group, pytest.raises(RedisUnavailable, match="replica"):
        async with connected(group.replica.url):
            pass


async def test_a_cluster_takes_each_call_to_its_node_and_each_moment_as_one_pipeline_a_node(tmp_path):
    with redis_cluster(tmp_path) as cluster:
        async with connected(cluster.url) as redis:
            counts = await asyncio.gather(*(redis.ask("INCR", f"cups:{n % 50}") for n in range(1000)))
            assert sorted(counts) == sorted(list(range(1, 21)) * 50)
            assert redis.batcher.sizes.flushes <= 2
            sizes = [server.cli("DBSIZE") for server in cluster.primaries]
            assert sum(sizes) == 50
            assert all(sizes)

            assert (
                await asyncio.gather(*(redis.run(MOVE, [f"{{{n}}}:a", f"{{{n}}}:b"], []) for n in range(20)))
                == [1] * 20
            )
            with pytest.raises(ResponseError, match="CROSSSLOT"):
                await redis.ask("MGET", "{1}:a", "{2}:a")
            await redis.ask("XADD", "log", "1-1", "cup", "1")
            reply = await redis.ask("XREAD", "COUNT", 1, "STREAMS", "log", "0")
            assert reply == [[b"log", [[b"1-1", [b"cup", b"1"]]]]]


async def test_a_slot_that_moves_is_followed_and_nothing_counts_twice(tmp_path):
    with redis_cluster(tmp_path) as cluster:
        async with connected(cluster.url) as redis:
            slot = cluster.slot("cups")
            source = cluster.owner(slot)
            target = next(server for server in cluster.primaries if server is not source)
            counted = 0
            stop = asyncio.Event()

            async def count() -> None:
                nonlocal counted
                while not stop.is_set():
                    await redis.ask("INCR", "cups")
                    counted += 1

            counters = [asyncio.ensure_future(count()) for _ in range(20)]
            await eventually(lambda: counted > 100)
            await asyncio.to_thread(cluster.move, slot, target)
            reached = counted
            await eventually(lambda: counted > reached + 100)
            stop.set()
            await asyncio.gather(*counters)
            assert int(target.cli("GET", "cups")) == counted
            assert redis.losses == 0


async def test_a_slot_on_its_way_is_asked_for_where_it_goes(tmp_path):
    with redis_cluster(tmp_path) as cluster:
        async with connected(cluster.url) as redis:
            slot = cluster.slot("cups")
            source = cluster.owner(slot)
            target = next(server for server in cluster.primaries if server is not source)
            target.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", source.cli("CLUSTER", "MYID"))
            source.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", target.cli("CLUSTER", "MYID"))
            # The key is not at the source, so it answers ASK to each of them.
            assert await asyncio.gather(*(redis.ask("INCR", "cups") for _ in range(3))) == [1, 2, 3]
            assert source.cli("CLUSTER", "COUNTKEYSINSLOT", slot) == 0


async def test_a_cluster_that_lost_a_primary_is_away_until_its_replica_took_over(tmp_path):
    with redis_cluster(tmp_path, replicas=1) as cluster:
        async with connected(cluster.url, timeout_seconds=1.0) as redis:
            key = next(f"cups:{n}" for n in range(100) if cluster.slot(f"cups:{n}") < 5000)
            assert await redis.ask("INCR", key) == 1
            before = redis.incarnation
            cluster.primaries[0].kill()
            began = time.monotonic()
            while True:
                answer = await asked(redis, "INCR", key)
                if isinstance(answer, int):
                    break
                assert isinstance(answer, RedisUnavailable | OutcomeUnknown), answer
                assert time.monotonic() - began < 20
                await asyncio.sleep(0.01)
            assert redis.incarnation != before
            assert len(redis.incarnation.split(",")) == 3


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "a"), b"a"),
        (("EVALSHA", "f00", 2, "b", "c", "d"), b"b"),
        (("EVAL", "return 1", "0", "d"), None),
        (("XREADGROUP", "GROUP", "g", "c", "COUNT", 5, "STREAMS", "s", ">"), b"s"),
        ((b"xgroup", "CREATE", "s", "g", "0"), b"s"),
        (("PUBLISH", "channel", "text"), b"channel"),
        (("TIME",), None),
        (("XREAD", "COUNT"), None),
        (("GET",), None),
    ],
)
def test_a_command_belongs_where_its_first_key_is(command, key):
    assert slot_of(command) == (slot_of(("GET", key)) if key else 0)
