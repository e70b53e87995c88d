"""The feed: what one tells all hear, and whoever does not hear knows it."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from teahouse.engines.redis import Redis
from teahouse.engines.redis_feed import STALE_SECONDS, Feed
from teahouse.problems import Problem, RedisUnavailable
from tests.engines.redis_clients import connected, eventually, listening
from tests.proxies import DOWN, UP, proxy_to
from tests.redis_servers import RedisServer, redis_cluster


@pytest.fixture
async def teller(redis_shared):
    """A client with an undisturbed connection."""
    async with connected(redis_shared.url) as redis:
        yield redis


@pytest.fixture
def proxy(redis_shared):
    with proxy_to(redis_shared.port) as proxy:
        yield proxy


@pytest.fixture
async def hearer(proxy, redis_shared):
    """A client behind the proxy."""
    async with connected(proxy.through(redis_shared.url), timeout_seconds=1.0) as redis:
        yield redis


async def test_every_feed_hears_what_one_tells_in_order(teller: Redis, hearer: Redis):
    heard: list[tuple[str, str]] = []
    async with listening(teller) as one, listening(hearer) as other:
        one.on("sale", lambda text: heard.append(("one", text)))
        other.on("sale", lambda text: heard.append(("other", text)))
        other.on("nothing", lambda text: heard.append(("wrong", text)))
        for number in range(100):
            await one.publish("sale", f"open {number} 茶")
        await eventually(lambda: len(heard) == 200)
        for name in ("one", "other"):
            assert [text for who, text in heard if who == name] == [f"open {number} 茶" for number in range(100)]


async def test_a_kind_with_a_space_is_refused(teller: Redis):
    with pytest.raises(ValueError, match="without a space"):
        Feed(teller).publish("two words", "")


async def test_a_handler_that_fails_is_logged_and_keeps_nobody_from_hearing(teller: Redis, caplog):
    heard: list[str] = []

    def stumble(_text: str) -> None:
        raise KeyError("a bug of the handler's own")

    async with listening(teller) as feed:
        feed.on("sale", stumble)
        feed.on("sale", heard.append)
        await feed.publish("sale", "open")
        # What is no message of ours is no reason to stop either.
        await teller.ask("PUBLISH", feed.channel, b"\xff\xfe \xff")
        await feed.publish("sale", "close")
        await eventually(lambda: heard == ["open", "close"])
        assert feed.losses == 0
        assert feed.current
    assert "a bug of the handler's own" in caplog.text


async def test_starting_without_a_server_says_so(redis_alone: RedisServer):
    async with connected(redis_alone.url) as redis:
        redis_alone.kill()
        feed = Feed(redis)
        with pytest.raises(RedisUnavailable):
            await feed.start()
        await feed.aclose()
        assert not feed.current


async def test_closing_lets_a_start_under_way_go(teller: Redis):
    forever = asyncio.Event()
    feed = Feed(teller)
    feed.on_catch_up(forever.wait)
    start = asyncio.ensure_future(feed.start())
    await asyncio.sleep(0)
    await feed.aclose()
    with pytest.raises(asyncio.CancelledError):
        await start


# --- hooks ---


async def test_a_slow_hook_loses_no_message_and_comes_before_current(teller: Redis):
    gate, heard, seen = asyncio.Event(), [], []
    feed = Feed(teller)

    async def slow() -> None:
        await gate.wait()
        seen.append(feed.current)

    feed.on_catch_up(slow)
    feed.on("sale", heard.append)
    start = asyncio.ensure_future(feed.start())
    try:
        # Told while the hook runs: the subscription is there already.
        while not await teller.ask("PUBLISH", feed.channel, "sale open"):
            await asyncio.sleep(0.01)
        await eventually(lambda: heard)
        assert not feed.current
        gate.set()
        await start
        assert seen == [False]
        await eventually(lambda: feed.current, seconds=2)
    finally:
        await feed.aclose()


@pytest.mark.parametrize("error", [RedisUnavailable("away"), KeyError("a bug of the hook's own")])
async def test_a_hook_that_fails_leads_to_another_try(teller: Redis, redis_shared, error, caplog):
    runs = 0

    async def stumble() -> None:
        nonlocal runs
        runs += 1
        if runs in (2, 3):
            raise error

    async with listening(teller, stumble) as feed:
        redis_shared.cli("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: runs == 4)
        await eventually(lambda: feed.current)
        assert feed.losses == 3
        if not isinstance(error, Problem):
            assert "a bug of the hook's own" in caplog.text


async def test_a_hook_that_fails_at_the_start_is_the_starters(teller: Redis):
    async def stumble() -> None:
        raise KeyError("a bug of the hook's own")

    feed = Feed(teller)
    feed.on_catch_up(stumble)
    with pytest.raises(KeyError):
        await feed.start()
    await feed.aclose()


# --- what is not heard ---


@pytest.mark.parametrize("ways", [(UP,), (DOWN,), (UP, DOWN)])
async def test_a_half_open_connection_is_known_within_a_second(hearer: Redis, proxy, ways):
    runs = []

    async def note() -> None:
        runs.append(feed.current)

    feed = Feed(hearer)
    feed.on_catch_up(note)
    await feed.start()
    try:
        await eventually(lambda: feed.current)
        proxy.swallow(*ways)
        assert await eventually(lambda: not feed.current) < 1.0
        proxy.carry()
        await eventually(lambda: feed.current)
        # It has caught up meanwhile, and said that it was current only after that.
        assert runs == [False, False]
    finally:
        await feed.aclose()


async def test_beats_that_come_too_late_mean_not_current(hearer: Redis, proxy):
    async with listening(hearer) as feed:
        await eventually(lambda: feed.current)
        proxy.delay(STALE_SECONDS + 0.1, DOWN)
        assert await eventually(lambda: not feed.current) < 1.0 + STALE_SECONDS
        proxy.carry()
        await eventually(lambda: feed.current)


async def test_a_loop_that_was_held_up_does_not_claim_to_be_current(teller: Redis):
    async with listening(teller) as feed:
        await eventually(lambda: feed.current)
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            pass
        assert not feed.current
        await eventually(lambda: feed.current, seconds=2)
        assert feed.losses == 0


async def test_a_restarted_server_is_heard_again_after_catching_up(redis_alone: RedisServer):
    runs = []

    async def note() -> None:
        runs.append(redis.incarnation)

    async with connected(redis_alone.url) as redis, listening(redis, note) as feed:
        redis_alone.kill()
        await eventually(lambda: not feed.current, seconds=1)
        redis_alone.start()
        await eventually(lambda: feed.current)
        heard: list[str] = []
        feed.on("sale", heard.append)
        await feed.publish("sale", "open")
        await eventually(lambda: heard == ["open"])
        assert len(runs) >= 2


async def test_a_feed_of_another_server_than_the_one_that_decides_is_not_current(teller: Redis, redis_alone):
    async with listening(teller) as feed:
        await eventually(lambda: feed.current)
        feed._run_id = redis_alone.info("run_id")
        assert not feed.current
        await eventually(lambda: feed.losses == 1 and feed.current)


async def test_in_a_cluster_all_hear_and_a_beat_has_gone_through_every_primary(tmp_path):
    with redis_cluster(tmp_path) as cluster:
        async with connected(cluster.url) as redis, connected(cluster.url) as other, listening(redis) as feed:
            heard: list[str] = []
            feed.on("sale", heard.append)
            await Feed(other).publish("sale", "1")
            # A script tells at the node that has its keys, whichever that is.
            for number, server in enumerate(cluster.primaries, 2):
                server.cli("EVAL", f"return redis.call('PUBLISH', ARGV[1], 'sale {number}')", 0, feed.channel)
            await eventually(lambda: sorted(heard) == ["1", "2", "3", "4"])
            await eventually(lambda: feed.current)
            cluster.primaries[1].pause()
            assert await eventually(lambda: not feed.current) < 1.0 + 0.3
            cluster.primaries[1].resume()
            await eventually(lambda: feed.current)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_was_told_long_enough_ago_is_known_while_current(teller: Redis, hearer: Redis, proxy, seed):
    """Facts are kept and told, as revocations are; the network does what it likes; ``current`` must not lie."""
    chance = random.Random(seed)
    known: set[int] = set()
    told: dict[int, float] = {}
    claims = 0

    async def catch_up() -> None:
        known.update(int(fact) for fact in await teller.ask("LRANGE", "facts", 0, -1))

    async with listening(hearer, catch_up) as feed:
        feed.on("fact", lambda text: known.add(int(text)))
        ends = time.monotonic() + 6
        next_fault = time.monotonic() + 0.5
        while time.monotonic() < ends:
            number = len(told)
            await teller.ask("RPUSH", "facts", number)
            await teller.ask("PUBLISH", feed.channel, f"fact {number}")
            told[number] = time.monotonic()
            if time.monotonic() > next_fault:
                next_fault = time.monotonic() + chance.uniform(0.2, 0.9)
                disturb(proxy, chance)
            if feed.current:
                claims += 1
                due = time.monotonic() - STALE_SECONDS
                assert [one for one, at in told.items() if at < due and one not in known] == []
            await asyncio.sleep(0.01)
        proxy.carry()
        proxy.cut()
        await eventually(lambda: feed.current and len(known) == len(told))
    assert claims > 20


def disturb(proxy, chance: random.Random) -> None:
    fault = chance.choice(("cut", "swallow", "delay", "carry", "carry", "half_close"))
    if fault == "swallow":
        proxy.swallow(chance.choice((UP, DOWN)))
    elif fault == "delay":
        proxy.delay(chance.uniform(0.01, 1.0), chance.choice((UP, DOWN)))
    elif fault == "half_close":
        proxy.half_close(chance.choice((UP, DOWN)))
    else:
        getattr(proxy, fault)()
