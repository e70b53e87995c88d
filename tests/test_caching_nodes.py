"""Two nodes on one shared layer in memory: who reads what from where, and for how long it is believed."""

from __future__ import annotations

import asyncio

import pytest

from teahouse.caching import Cache, Times
from teahouse.problems import RedisUnavailable
from tests.batches import settle
from tests.caching_memory import Memory, MemoryLayer
from tests.caching_shop import Truth, cache_of
from tests.clocks import ManualClock


class Node:
    def __init__(self, truth: Truth, memory: Memory, **options) -> None:
        self.layer = MemoryLayer(memory)
        self.cache: Cache[int] = cache_of(truth, self.layer, **options)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def truth(clock: ManualClock) -> Truth:
    truth = Truth(clock)
    truth.write("a", 1)
    truth.write("b", 1)
    clock.advance(60)
    return truth


@pytest.fixture
async def nodes(truth: Truth, clock: ManualClock) -> tuple[Node, Node]:
    """Two nodes that have been running for a while."""
    memory = Memory(clock)
    nodes = Node(truth, memory), Node(truth, memory)
    for node in nodes:
        await node.cache.get("warm")
    clock.advance(60)
    truth.loads.clear()
    return nodes


async def test_a_waiter_joins_no_load_that_may_have_missed_a_change(
    nodes: tuple[Node, Node], truth: Truth, clock: ManualClock
) -> None:
    one, other = nodes
    truth.gate.clear()
    early = asyncio.create_task(other.cache.get("a"))
    await settle()
    other.layer.lose_feed()
    truth.write("a", 2)
    await one.cache.invalidate("a")
    clock.advance(1.0)
    late = asyncio.create_task(other.cache.get("a"))
    await settle()
    truth.gate.set()
    assert (await early, await late) == (1, 2)


async def test_a_load_that_is_too_old_to_be_joined_is_not_remembered_either(
    nodes: tuple[Node, Node], truth: Truth, clock: ManualClock
) -> None:
    one, other = nodes
    truth.gate.clear()
    early = asyncio.create_task(other.cache.get("a"))
    await settle()
    clock.advance(1.0)
    late = asyncio.create_task(other.cache.get("a"))
    await settle()
    truth.write("a", 2)
    await one.cache.invalidate("a")
    other.layer.hear()
    truth.gate.set()
    assert (await early, await late) == (1, 2)
    assert other.cache.cached("a") is None
    assert await other.cache.get("a") == 2


async def test_a_second_node_reads_what_the_first_has_loaded(nodes: tuple[Node, Node], truth: Truth) -> None:
    one, other = nodes
    assert await one.cache.get("a") == 1
    assert await other.cache.get("a") == 1
    assert other.cache.cached("a") == 1
    assert truth.loads == [(["a"], False)]
    assert other.cache.local.reads["shared"] == 1


async def test_an_entry_lives_no_longer_for_having_passed_through_two_layers(
    nodes: tuple[Node, Node], truth: Truth, clock: ManualClock
) -> None:
    one, other = nodes
    await one.cache.get("a")
    clock.advance(one.cache.times.seconds - 1)
    assert await other.cache.get("a") == 1
    clock.advance(0.999)
    assert other.cache.cached("a") == 1
    clock.advance(0.001)
    assert other.cache.cached("a") is None


async def test_that_there_is_nothing_is_never_a_replicas_word(
    nodes: tuple[Node, Node], truth: Truth, clock: ManualClock
) -> None:
    one, _ = nodes
    truth.lag = 5.0
    truth.write("new", 1)
    clock.advance(0.1)
    assert await one.cache.get("new") == 1
    assert truth.loads == [(["new"], False), (["new"], True)]


async def test_a_change_reaches_the_other_node_when_it_hears(
    nodes: tuple[Node, Node], truth: Truth, clock: ManualClock
) -> None:
    one, other = nodes
    await other.cache.get("a")
    async with one.cache.changing("a"):
        truth.write("a", 2)
    assert await one.cache.get("a") == 2
    other.layer.hear()
    assert await other.cache.get("a") == 2


async def test_a_node_that_does_not_hear_believes_nothing_for_longer_than_a_second(
    nodes: tuple[Node, Node], truth: Truth, clock: ManualClock
) -> None:
    one, other = nodes
    other.layer.lose_feed()
    await other.cache.get("a")
    truth.write("a", 2)
    await one.cache.invalidate("a")
    clock.advance(0.999)
    assert other.cache.cached("a") == 1
    clock.advance(0.001)
    assert await other.cache.get("a") == 2


async def test_a_node_that_hears_again_begins_with_nothing(nodes: tuple[Node, Node], truth: Truth) -> None:
    _, other = nodes
    await other.cache.get("a")
    other.layer.lose_feed()
    other.layer.catch_up()
    assert len(other.cache.local) == 0


async def test_while_the_tombstone_stands_the_primary_is_read_and_nothing_is_shared(
    nodes: tuple[Node, Node], truth: Truth, clock: ManualClock
) -> None:
    one, other = nodes
    truth.lag = 5.0
    truth.write("a", 2)
    await one.cache.invalidate("a")
    other.layer.hear()
    for _ in range(3):
        assert await other.cache.get("a") == 2
        clock.advance(1.0)
        assert other.cache.cached("a") is None
    assert truth.loads == [(["a"], True)] * 3
    clock.advance(other.cache.times.changing_seconds)
    assert await other.cache.get("a") == 2
    assert truth.loads[3] == (["a"], False)
    assert await one.cache.get("a") == 2
    assert len(truth.loads) == 4


async def test_without_the_shared_layer_reads_go_to_the_primary_and_live_a_second(
    nodes: tuple[Node, Node], truth: Truth, clock: ManualClock
) -> None:
    one, _ = nodes
    one.layer.connected = False
    assert await one.cache.get("a") == 1
    assert await one.cache.get("none") is None
    assert truth.loads == [(["a"], True), (["none"], True)]
    clock.advance(1.0)
    assert one.cache.cached("a") is None


async def test_a_change_that_cannot_be_told_is_told_later(
    nodes: tuple[Node, Node], truth: Truth, clock: ManualClock
) -> None:
    one, other = nodes
    await one.cache.get("a")
    await other.cache.get("a")
    one.layer.connected = False
    truth.write("a", 2)
    await one.cache.invalidate("a")
    assert one.cache.changes.untold == 1
    # However long it takes: what is held for all is not believed here.
    clock.advance(one.cache.times.changing_seconds)
    assert await one.cache.get("a") == 2
    one.layer.connected = True
    deadline = asyncio.get_running_loop().time() + 5
    while one.cache.changes.untold:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    other.layer.hear()
    assert await other.cache.get("a") == 2


async def test_changes_that_wait_to_be_told_are_bounded(
    truth: Truth, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(truth, Memory(clock), max_entries=3)
    node.layer.connected = False
    for number in range(5):
        await node.cache.invalidate(str(number))
    assert node.cache.changes.untold == 3
    assert "given up: 0" in caplog.text
    assert "given up: 1" in caplog.text
    await node.cache.aclose()
    assert "3 changes could not be told" in caplog.text


async def test_a_caller_who_is_cancelled_does_not_stop_the_telling(nodes: tuple[Node, Node], truth: Truth) -> None:
    one, other = nodes
    held = asyncio.Event()
    change = one.layer.change

    async def slowly(key: str, seconds: float) -> None:
        await held.wait()
        await change(key, seconds)

    one.layer.change = slowly
    await other.cache.get("a")
    telling = asyncio.create_task(one.cache.invalidate("a"))
    await settle()
    telling.cancel()
    await settle()
    held.set()
    await settle()
    assert telling.cancelled()
    other.layer.hear()
    assert other.cache.cached("a") is None


async def test_a_writer_that_dies_after_its_commit_leaves_nothing_old_for_longer_than_a_second(
    nodes: tuple[Node, Node], truth: Truth, clock: ManualClock
) -> None:
    one, other = nodes
    await other.cache.get("a")
    await one.cache.changing("a").__aenter__()
    other.layer.hear()
    assert await other.cache.get("a") == 1
    truth.write("a", 2)
    clock.advance(1.0)
    assert await other.cache.get("a") == 2


async def test_an_outdated_answer_is_not_given_by_a_node_that_does_not_hear(truth: Truth, clock: ManualClock) -> None:
    node = Node(truth, Memory(clock), times=Times(seconds=5.0, stale_if_error_seconds=60.0))
    await node.cache.get("warm")
    await node.cache.get("a")
    clock.advance(10)
    truth.error = OSError("away")
    assert await node.cache.get("a") == 1
    node.layer.lose_feed()
    clock.advance(0.9)
    with pytest.raises(OSError, match="away"):
        await node.cache.get("a")


async def test_entries_of_a_redis_that_came_back_with_less_are_not_believed(
    nodes: tuple[Node, Node], truth: Truth, clock: ManualClock
) -> None:
    one, other = nodes
    await one.cache.get("a")
    before = dict(one.layer.memory.entries)
    truth.lag = 5.0
    truth.write("a", 2)
    await one.cache.invalidate("a")
    one.layer.memory.restart(before)
    for _ in range(5):
        assert await one.cache.get("a") == 2
        clock.advance(1.0)
        assert await other.cache.get("a") == 2


async def test_a_load_that_began_before_the_node_hears_again_is_not_remembered(
    nodes: tuple[Node, Node], truth: Truth
) -> None:
    one, other = nodes
    truth.gate.clear()
    early = asyncio.create_task(other.cache.get("a"))
    await settle()
    other.layer.lose_feed()
    truth.write("a", 2)
    await one.cache.invalidate("a")
    other.layer.catch_up()
    truth.gate.set()
    assert await early == 1
    assert other.cache.cached("a") is None


async def test_who_could_not_tell_a_change_does_not_believe_what_is_shared(
    nodes: tuple[Node, Node], truth: Truth, clock: ManualClock
) -> None:
    one, _ = nodes
    await one.cache.get("a")

    async def refused(key: str, seconds: float) -> None:
        raise RedisUnavailable

    one.layer.change = refused
    truth.write("a", 2)
    await one.cache.invalidate("a")
    clock.advance(one.cache.times.changing_seconds)
    assert one.layer.memory.at("a").value == 1
    assert await one.cache.get("a") == 2
    await one.cache.aclose()
