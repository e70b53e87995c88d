"""Two nodes, a replica that lags, writes, reads, crashes and lost messages: no answer is older than was promised."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from teahouse.caching import Cache, Times
from tests.batches import settle
from tests.caching_memory import Kept, Memory, MemoryLayer
from tests.caching_shop import Truth, cache_of
from tests.clocks import ManualClock

BOUND = 1.0
MOST_LAG = 2.0
# As short as its parts allow, so that whole lives fit into a run.
TIMES = Times(seconds=20.0, negative_seconds=3.0, changing_seconds=6.0)
# Nearly always the same key: what can go wrong happens between reads and writes of one.
KEYS = st.sampled_from("aaaab")
PLACES = st.integers(0, 1)


@dataclass(eq=False)
class Node:
    layer: MemoryLayer
    cache: Cache[int]
    # The write under way: its key, when it began, and whether its first tombstone stands.
    writing: tuple[str, float, bool] | None = None


@dataclass(eq=False)
class Version:
    number: int
    committed_at: float
    writer: Node
    # From when on the writer itself, and everybody else, must not see an older one.
    own: float = float("inf")
    others: float = float("inf")

    def due(self, node: Node) -> float:
        return min(self.own, self.others) if node is self.writer else self.others


@dataclass(eq=False)
class Reading:
    key: str
    least: int
    task: asyncio.Task[int | None]


class CachingMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.escaped: list[object] = []
        self.loop.set_exception_handler(lambda _loop, context: self.escaped.append(context))
        self.clock = ManualClock()
        self.run(self._open())

    async def _open(self) -> None:
        self.truth = Truth(self.clock)
        self.memory = Memory(self.clock)
        self.versions: dict[str, list[Version]] = {"a": [], "b": []}
        self.readings: list[Reading] = []
        for key in self.versions:
            self.truth.write(key, 0)
        self.snapshots: list[tuple[float, dict[str, Kept]]] = []
        self.nodes = [self._node(), self._node()]
        # Both have been running for a while: a node that is new trusts nothing at first.
        for node in self.nodes:
            await node.cache.get("warm")
        self.clock.advance(TIMES.seconds)

    def _node(self) -> Node:
        layer = MemoryLayer(self.memory)
        return Node(layer, cache_of(self.truth, layer, times=TIMES))

    def run(self, coroutine) -> None:
        self.loop.run_until_complete(asyncio.wait_for(coroutine, 5))
        self.snapshots.append((self.clock.monotonic(), dict(self.memory.entries)))

    # --- reads ---

    @rule(place=PLACES, key=KEYS, slowly=st.booleans())
    def read(self, place: int, key: str, slowly: bool) -> None:
        if slowly:
            # From now on what is loaded is held up after it was read.
            self.truth.gate.clear()

        async def go() -> None:
            node, now = self.nodes[place], self.clock.monotonic()
            due = [version.number for version in self.versions[key] if version.due(node) <= now]
            task = asyncio.ensure_future(node.cache.get(key))
            self.readings.append(Reading(key, max(due, default=0), task))
            await settle()

        self.run(go())
        self.look()

    def look(self) -> None:
        for reading in [reading for reading in self.readings if reading.task.done()]:
            self.readings.remove(reading)
            assert (reading.task.result() or 0) >= reading.least, reading.key

    @rule()
    def let_loads_go(self) -> None:
        async def go() -> None:
            self.truth.gate.set()
            while not all(reading.task.done() for reading in self.readings):
                await asyncio.sleep(0)

        self.run(go())
        self.look()

    # --- writes ---

    @rule(place=PLACES, key=KEYS)
    def begin_write(self, place: int, key: str) -> None:
        node = self.nodes[place]
        if any(other.writing is not None and other.writing[0] == key for other in self.nodes) or node.writing:
            return
        self.run(node.cache.invalidate(key))
        node.writing = (key, self.clock.monotonic(), key not in node.cache.changes._untold)

    @rule(place=PLACES, dies=st.booleans(), between=st.floats(0, 0.5))
    def commit_and_tell_or_die(self, place: int, dies: bool, between: float) -> None:
        node = self.nodes[place]
        if node.writing is None:
            return
        (key, began_at, announced), node.writing = node.writing, None
        now = self.clock.monotonic()
        version = Version(len(self.versions[key]) + 1, now, node)
        self.truth.write(key, version.number)
        self.versions[key].append(version)
        if dies:
            in_time = announced and now + MOST_LAG < began_at + TIMES.changing_seconds
            version.others = now + (BOUND if in_time else MOST_LAG + TIMES.seconds)
            self.die(place)
            return
        self.advance(between)
        self.run(node.cache.invalidate(key))
        now = self.clock.monotonic()
        told = key not in node.cache.changes._untold
        version.own = now
        version.others = now + BOUND if told else now + MOST_LAG + TIMES.seconds

    @rule(place=PLACES, key=KEYS, between=st.floats(0, 0.5))
    def write(self, place: int, key: str, between: float) -> None:
        self.begin_write(place, key)
        self.commit_and_tell_or_die(place, dies=False, between=between)

    def die(self, place: int) -> None:
        node = self.nodes[place]

        async def go() -> None:
            retrying = node.cache.changes._retrying
            if retrying is not None:
                retrying.cancel()
            node.layer.connected = False
            self.memory.nodes.remove(node.layer)
            self.nodes[place] = self._node()

        self.run(go())

    # --- faults and time ---

    @rule(seconds=st.sampled_from((0.1, 0.5, 1.0, 1.5, 3.0, 6.0)))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(place=PLACES)
    def hear(self, place: int) -> None:
        self.nodes[place].layer.hear()

    @rule(place=PLACES)
    def lose_the_feed_or_catch_up(self, place: int) -> None:
        layer = self.nodes[place].layer
        if layer.deaf:
            layer.catch_up()
        else:
            layer.lose_feed()

    @rule(place=PLACES)
    def lose_redis_or_reach_it_again(self, place: int) -> None:
        if self.nodes[place].layer.connected:
            self.nodes[place].layer.connected = False
        else:
            self.reach_redis(place)

    def reach_redis(self, place: int) -> None:
        node = self.nodes[place]
        node.layer.connected = True
        self.run(node.cache.changes._tell_the_rest(node.layer))
        assert node.cache.changes.untold == 0
        for versions in self.versions.values():
            for version in versions:
                if version.writer is node and version.own < float("inf"):
                    version.others = min(version.others, self.clock.monotonic() + BOUND)

    @rule(data=st.data())
    def restart_redis_with_its_last_second_lost(self, data) -> None:
        now = self.clock.monotonic()
        recent = [entries for moment, entries in self.snapshots[-20:] if moment > now - 1] or [self.memory.entries]
        self.memory.restart(data.draw(st.sampled_from(recent)))

    @rule(seconds=st.floats(0, MOST_LAG))
    def lag(self, seconds: float) -> None:
        self.truth.lag = seconds

    def teardown(self) -> None:
        try:
            self.settle_down()
        finally:
            self.run(self._close())
            self.loop.close()
        assert self.escaped == []

    def settle_down(self) -> None:
        """In the end everybody sees the last version."""
        self.let_loads_go()
        for place in (0, 1):
            self.reach_redis(place)
        self.advance(MOST_LAG + TIMES.seconds)
        for versions in self.versions.values():
            for version in versions:
                version.others = min(version.others, self.clock.monotonic())
        for place in (0, 1):
            for key in self.versions:
                self.read(place, key, slowly=False)
        assert self.readings == []

    async def _close(self) -> None:
        self.truth.gate.set()
        for node in self.nodes:
            await node.cache.aclose()
        await asyncio.gather(*(reading.task for reading in self.readings), return_exceptions=True)


CachingMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestCaching = CachingMachine.TestCase


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_schedule_made_by_chance_shows_an_old_value(seed: int) -> None:
    """The same steps, as many of each: what it takes to go wrong is a few of them in the right order."""
    chance = random.Random(seed)
    machine = CachingMachine()

    def place() -> int:
        return chance.randrange(2)

    steps = (
        lambda: machine.read(place(), "a", slowly=False),
        lambda: machine.read(place(), "a", slowly=chance.random() < 0.3),
        lambda: machine.write(place(), "a", chance.choice((0.0, 0.4))),
        lambda: machine.begin_write(place(), "a"),
        lambda: machine.commit_and_tell_or_die(place(), dies=chance.random() < 0.5, between=0.1),
        lambda: machine.advance(chance.choice((0.1, 0.5, 1.0, 1.5, 3.0, 6.0))),
        lambda: machine.hear(place()),
        lambda: machine.lose_the_feed_or_catch_up(place()),
        machine.let_loads_go,
        lambda: chance.random() < 0.3 and machine.lose_redis_or_reach_it_again(place()),
        lambda: chance.random() < 0.2 and machine.memory.restart(machine.memory.entries),
        lambda: machine.lag(chance.choice((0.0, MOST_LAG))),
    )
    try:
        for _ in range(60):
            chance.choice(steps)()
    finally:
        machine.teardown()
