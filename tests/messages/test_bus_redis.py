"""The bus over Redis: what it may have missed it owns up to, whatever becomes of the server or the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from teahouse.engines.redis import Redis
from teahouse.messages import bus_publishing_redis
from teahouse.messages.bus_redis import PLAIN, RedisBus
from teahouse.problems import RedisUnavailable
from tests.engines.redis_clients import connected
from tests.messages.listeners import eventually
from tests.proxies import DOWN, UP, proxy_to
from tests.redis_servers import RedisCluster, RedisServer, redis_cluster


class Ear:
    """What came, and how often something was lost."""

    def __init__(self, bus: RedisBus) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.losses = 0
        bus.on_receive(lambda topic, text: self.heard.append((topic, text)))
        bus.on_loss(self._lose)

    def _lose(self) -> None:
        self.losses += 1


@asynccontextmanager
async def on(redis: Redis) -> AsyncIterator[tuple[RedisBus, Ear]]:
    bus = RedisBus(redis)
    ear = Ear(bus)
    await bus.start()
    try:
        yield bus, ear
    finally:
        await bus.aclose()


@asynccontextmanager
async def at(server: RedisServer | RedisCluster, **options: float) -> AsyncIterator[tuple[RedisBus, Ear]]:
    async with connected(server.url, **options) as redis, on(redis) as both:
        yield both


async def test_only_nodes_with_a_receiver_are_sent_a_text_and_by_sharded_channels(redis_shared):
    async with at(redis_shared) as (one, _), at(redis_shared) as (other, ear):
        await one.subscribe(["room:1"])
        await other.subscribe(["room:2"])
        channels = redis_shared.cli("PUBSUB", "SHARDCHANNELS", "*room*")
        assert sorted(channels) == ["teahouse:bus:0:room:1", "teahouse:bus:0:room:2"]
        assert redis_shared.cli("PUBSUB", "CHANNELS", "*") == []
        one.publish("room:1", b"1")
        one.publish("room:2", b"2")
        await eventually(lambda: ear.heard)
        assert ear.heard == [("room:2", b"2")]


async def test_starting_without_a_server_says_so(redis_alone: RedisServer):
    async with connected(redis_alone.url) as redis:
        redis_alone.kill()
        with pytest.raises(RedisUnavailable):
            await RedisBus(redis).start()


async def test_ten_thousand_topics_are_subscribed_again_after_a_restart(redis_alone: RedisServer):
    topics = [f"room:{number:032x}" for number in range(10_000)]
    async with at(redis_alone) as (bus, ear):
        await bus.subscribe(topics)
        redis_alone.kill()
        await eventually(lambda: not bus.current)
        with pytest.raises(RedisUnavailable):
            await bus.subscribe(["room:meanwhile"])
        bus.unsubscribe(topics[:10])
        redis_alone.start()
        await eventually(lambda: bus.losses == 1 == ear.losses)
        # Those that were wanted meanwhile are there, those that were not are not.
        assert len(redis_alone.cli("PUBSUB", "SHARDCHANNELS", "*room*")) == 9_991
        for topic in topics[5:15]:
            bus.publish(topic, b"x")
        bus.publish("room:meanwhile", b"y")
        await eventually(lambda: len(ear.heard) == 6)
        await eventually(lambda: bus.current)


async def test_what_is_published_while_redis_is_away_leaves_in_order_when_it_is_back(redis_alone: RedisServer):
    async with at(redis_alone) as (bus, ear):
        await bus.subscribe(["room:1"])
        redis_alone.kill()
        await eventually(lambda: not bus._redis.connected)
        for number in range(50):
            bus.publish("room:1", b"%d" % number)
        redis_alone.start()
        await eventually(lambda: bus.losses and not bus.waiting)
        bus.publish("room:1", b"last")
        await eventually(lambda: ear.heard[-1:] == [("room:1", b"last")])
        numbers = [int(text) for _, text in ear.heard[:-1]]
        assert numbers == sorted(numbers)


async def test_a_node_that_could_not_publish_makes_the_others_look_at_the_store(redis_shared, monkeypatch):
    monkeypatch.setattr(bus_publishing_redis, "MOST_WAITING", 10)
    with proxy_to(redis_shared.port) as proxy:
        url = proxy.through(redis_shared.url)
        async with at(redis_shared) as (hearer, ear), connected(url) as redis, on(redis) as (teller, _):
            await hearer.subscribe(["room:1"])
            proxy.swallow(UP, DOWN)
            proxy.cut()
            await eventually(lambda: not redis.connected)
            for number in range(20):
                teller.publish("room:1", b"%d" % number)
            assert hearer.losses == 0
            proxy.carry()
            await eventually(lambda: ear.losses == 1, seconds=30)
            assert [text for _, text in ear.heard] == [b"%d" % number for number in range(10)]
            # The hearer's own connection was never lost.
            assert hearer.current


@pytest.mark.parametrize("ways", [(UP,), (DOWN,), (UP, DOWN)])
async def test_a_half_open_connection_is_known_within_a_second(redis_shared, ways):
    with proxy_to(redis_shared.port) as proxy:
        async with connected(proxy.through(redis_shared.url), timeout_seconds=1.0) as redis, on(redis) as (bus, ear):
            await bus.subscribe(["room:1"])
            await eventually(lambda: bus.current)
            proxy.swallow(*ways)
            assert await eventually(lambda: not bus.current) < 1.0
            proxy.carry()
            await eventually(lambda: ear.losses and bus.current)
            bus.publish("room:1", b"1")
            await eventually(lambda: ear.heard)


async def test_a_slow_listener_that_redis_hangs_up_on_comes_back(redis_shared):
    async with at(redis_shared) as (bus, ear):
        await bus.subscribe(["room:1"])
        redis_shared.cli("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: ear.losses == 1)
        bus.publish("room:1", b"1")
        await eventually(lambda: ear.heard)


async def test_who_waits_for_a_subscription_is_told_when_the_connection_is_lost(redis_alone: RedisServer):
    async with at(redis_alone, timeout_seconds=1.0) as (bus, _):
        redis_alone.pause()
        waiting = asyncio.ensure_future(bus.subscribe(["room:1"]))
        with pytest.raises(RedisUnavailable):
            await waiting
        redis_alone.resume()
        await eventually(lambda: bus.losses)
        await bus.subscribe(["room:1"])


async def test_in_a_cluster_plain_channels_reach_every_node(tmp_path):
    with redis_cluster(tmp_path) as cluster:
        async with connected(cluster.url) as redis, on(redis) as (bus, ear), at(cluster) as (teller, _):
            assert bus._words is PLAIN
            topics = [f"room:{number}" for number in range(50)]
            await bus.subscribe(topics)
            for topic in topics:
                teller.publish(topic, b"1")
            await eventually(lambda: len(ear.heard) == 50)
            await eventually(lambda: bus.current)
            assert {topic for topic, _ in ear.heard} == set(topics)


async def test_a_server_of_before_sharded_channels_is_used_with_plain_ones(redis_shared, monkeypatch):
    async def plain(_bus, _connection):
        return PLAIN

    monkeypatch.setattr(RedisBus, "_kind", plain)
    async with at(redis_shared) as (bus, ear):
        await bus.subscribe(["room:1"])
        assert redis_shared.cli("PUBSUB", "CHANNELS", "*room*") == ["teahouse:bus:0:room:1"]
        bus.publish("room:1", b"1")
        await eventually(lambda: ear.heard)
