"""Whatever happens, each call has one outcome, and the counters agree with what callers were told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teahouse.engines.redis import Redis, Script
from teahouse.problems import OutcomeUnknown, RedisUnavailable
from tests.engines.redis_clients import eventually
from tests.proxies import DOWN, UP, Proxy, proxy_to
from tests.redis_servers import RedisServer

COUNT = Script("return redis.call('INCR', KEYS[1])")

CALLS = st.tuples(st.just("calls"), st.integers(1, 30))
SCRIPTS = st.tuples(st.just("scripts"), st.integers(1, 10))
CANCEL = st.tuples(st.just("cancel"), st.integers(0, 40))
TURNS = st.tuples(st.just("turns"), st.integers(1, 20))
WAIT = st.tuples(st.just("wait"), st.integers(1, 60))
CUT = st.tuples(st.just("cut"), st.just(0))
CUT_LATER = st.tuples(st.sampled_from(["cut up", "cut down"]), st.integers(1, 600))
HALF = st.tuples(st.sampled_from(["half up", "half down"]), st.just(0))
KILL = st.tuples(st.just("kill"), st.just(0))
STEPS = st.lists(
    st.one_of(CALLS, CALLS, SCRIPTS, CANCEL, TURNS, WAIT, CUT, CUT_LATER, HALF, KILL), min_size=3, max_size=25
)


class Crowd:
    """Callers that count, and what each of them was told."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.calls: list[asyncio.Task[str]] = []
        self.counts: list[int] = []

    async def _count(self, *, script: bool) -> str:
        try:
            if script:
                count = await self.redis.run(COUNT, ["cups"], [])
            else:
                count = await self.redis.ask("INCR", "cups")
        except RedisUnavailable:
            return "unavailable"
        except OutcomeUnknown:
            return "unknown"
        self.counts.append(count)
        return "counted"

    def call(self, how_many: int, *, script: bool = False) -> None:
        self.calls += [asyncio.ensure_future(self._count(script=script)) for _ in range(how_many)]

    async def outcomes(self) -> Counter[str]:
        """A cancelled call may have left: nobody was told."""
        async with asyncio.timeout(10):
            told = await asyncio.gather(*self.calls, return_exceptions=True)
        assert all(isinstance(each, str | asyncio.CancelledError) for each in told), told
        return Counter(each if isinstance(each, str) else "cancelled" for each in told)


async def play(steps: Sequence[tuple[str, int]], crowd: Crowd, proxy: Proxy, server: RedisServer) -> None:
    for step, number in steps:
        if step in ("calls", "scripts"):
            crowd.call(number, script=step == "scripts")
        elif step == "cancel" and crowd.calls:
            crowd.calls[number % len(crowd.calls)].cancel()
        elif step == "turns":
            for _ in range(number):
                await asyncio.sleep(0)
        elif step == "wait":
            await asyncio.wait({asyncio.ensure_future(asyncio.Event().wait())}, timeout=number / 1000)
        elif step == "cut":
            proxy.cut()
        elif step.startswith("cut "):
            proxy.cut_when_carried(number, UP if step.endswith("up") else DOWN)
        elif step.startswith("half "):
            proxy.half_close(UP if step.endswith("up") else DOWN)
        elif step == "kill":
            server.kill()
            server.start()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(steps=STEPS)
async def test_every_call_has_one_outcome_and_the_counter_lies_between(redis_alone: RedisServer, steps):
    redis_alone.cli("DEL", "cups")
    with proxy_to(redis_alone.port) as proxy:
        redis = Redis(proxy.through(redis_alone.url), timeout_seconds=1.0)
        await redis.connect()
        crowd = Crowd(redis)
        try:
            await play(steps, crowd, proxy, redis_alone)
            outcomes = await crowd.outcomes()
        finally:
            await redis.aclose()
        count = int(redis_alone.cli("GET", "cups") or 0)
        assert outcomes.total() == len(crowd.calls)
        assert outcomes["counted"] <= count <= outcomes["counted"] + outcomes["unknown"] + outcomes["cancelled"]
        # Nobody was given an answer that was somebody else's.
        assert len(set(crowd.counts)) == len(crowd.counts)
        assert all(1 <= each <= count for each in crowd.counts)


async def test_under_steady_faults_a_crowd_loses_no_count(redis_alone: RedisServer):
    with proxy_to(redis_alone.port) as proxy:
        redis = Redis(proxy.through(redis_alone.url), timeout_seconds=1.0)
        await redis.connect()
        crowd = Crowd(redis)
        for round_ in range(20):
            if round_ % 2:
                # What was asked arrives; what is answered does not.
                proxy.cut_when_carried(150 * round_, UP)
            crowd.call(100)
            await asyncio.sleep(0)
            if round_ % 5 == 4:
                redis_alone.kill()
                redis_alone.start()
            await crowd.outcomes()
            await eventually(lambda: redis.connected and redis._pipe.alive(), seconds=5)
        outcomes = await crowd.outcomes()
        await redis.aclose()
    count = int(redis_alone.cli("GET", "cups"))
    assert outcomes["counted"] <= count <= outcomes["counted"] + outcomes["unknown"]
    assert outcomes["counted"] > 300
    assert outcomes["unknown"] > 0
