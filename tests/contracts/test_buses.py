"""What hubs rely on, of the bus in memory and the one over Redis."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from teahouse.engines.redis import Redis
from teahouse.messages.bus_memory import MemoryBus
from teahouse.messages.bus_redis import RedisBus
from tests.messages.listeners import eventually


@asynccontextmanager
async def started(bus):
    bus.heard = heard = []
    bus.on_receive(lambda topic, text: heard.append((topic, text)))
    bus.on_loss(lambda: None)
    await bus.start()
    try:
        yield bus
    finally:
        await bus.aclose()


@pytest.fixture(params=["memory", "redis"])
async def bus(request):
    if request.param == "memory":
        async with started(_with_ear(MemoryBus)) as bus:
            yield bus
        return
    redis = Redis(request.getfixturevalue("redis_shared").url)
    await redis.connect()
    async with started(_with_ear(RedisBus, redis)) as bus:
        yield bus
    await redis.aclose()


def _with_ear(kind, *args):
    class WithEar(kind):
        heard: list[tuple[str, bytes]]

    return WithEar(*args)


async def test_what_is_published_after_subscribing_is_received_in_order(bus):
    await bus.subscribe(["room:1", "person:2"])
    for number in range(200):
        bus.publish("room:1", b"%d" % number)
        bus.publish("person:2", b"\x00\r\n\xff %d" % number)
    await eventually(lambda: len(bus.heard) == 400)
    assert [text for topic, text in bus.heard if topic == "room:1"] == [b"%d" % number for number in range(200)]
    assert [text for topic, text in bus.heard if topic == "person:2"][7] == b"\x00\r\n\xff 7"
    assert bus.current
    assert bus.losses == 0


async def test_nothing_is_received_before_the_publisher_goes_on(bus):
    await bus.subscribe(["room:1"])
    bus.publish("room:1", b"1")
    assert bus.heard == []


async def test_topics_that_nobody_subscribed_are_not_received(bus):
    await bus.subscribe(["room:1"])
    bus.publish("room:2", b"1")
    bus.publish("room:1", b"2")
    await eventually(lambda: bus.heard)
    assert bus.heard == [("room:1", b"2")]


async def test_what_is_unsubscribed_is_received_no_more_and_again_after_subscribing(bus):
    await bus.subscribe(["room:1", "room:2"])
    bus.unsubscribe(["room:1", "never subscribed"])
    await bus.subscribe(["room:3"])
    bus.publish("room:1", b"1")
    bus.publish("room:2", b"2")
    await eventually(lambda: bus.heard)
    await bus.subscribe(["room:1"])
    bus.publish("room:1", b"3")
    await eventually(lambda: len(bus.heard) == 2)
    assert bus.heard == [("room:2", b"2"), ("room:1", b"3")]


@pytest.mark.parametrize("pause", [False, True])
async def test_unsubscribing_and_subscribing_in_one_moment_keeps_the_topic(bus, pause: bool):
    await bus.subscribe(["room:1"])
    for number in range(5):
        bus.unsubscribe(["room:1"])
        if pause:
            await asyncio.sleep(0)
        await bus.subscribe(["room:1"])
        bus.publish("room:1", b"1")
        await eventually(lambda number=number: len(bus.heard) == number + 1)


async def test_many_subscribe_at_once_and_each_hears_what_comes_after(bus):
    async def one(number: int) -> None:
        await bus.subscribe([f"room:{number}", "room:all"])
        bus.publish(f"room:{number}", b"%d" % number)

    await asyncio.gather(*map(one, range(1_500)))
    await eventually(lambda: len(bus.heard) == 1_500)
    assert {topic for topic, _ in bus.heard} == {f"room:{number}" for number in range(1_500)}


async def test_whoever_publishes_much_can_wait_until_it_has_left(bus):
    await bus.subscribe(["room:1"])
    for _ in range(50):
        for _ in range(1_000):
            bus.publish("room:1", b"x" * 100)
        await bus.sent()
    await eventually(lambda: len(bus.heard) == 50_000)
    assert bus.losses == 0


async def test_closing_sends_what_was_published(bus):
    await bus.subscribe(["room:1"])
    bus.publish("room:1", b"1")
    if isinstance(bus, MemoryBus):
        await bus.aclose()
        assert bus.heard == [("room:1", b"1")]
        return
    other = Redis(f"redis://{bus._redis.address}")
    await other.connect()
    async with started(_with_ear(RedisBus, other)) as hearer:
        await hearer.subscribe(["room:1"])
        bus.publish("room:1", b"2")
        await bus.aclose()
        await eventually(lambda: (hearer.heard or [()])[-1] == ("room:1", b"2"))
    await other.aclose()
