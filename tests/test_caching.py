"""One process: what is loaded when, what is remembered, and for how long."""

from __future__ import annotations

import asyncio
from typing import Self

import pytest

from teahouse.caching import MISSING, Cache, Times
from teahouse.problems import DatabaseUnavailable, ShuttingDown
from tests.batches import settle
from tests.caching_shop import Truth, cache_of
from tests.clocks import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def truth(clock: ManualClock) -> Truth:
    truth = Truth(clock)
    for number in range(20):
        truth.write(str(number), number + 1000)
    return truth


@pytest.fixture
def cache(truth: Truth) -> Cache[int]:
    return cache_of(truth)


async def test_what_was_read_is_known_at_once(cache: Cache[int], truth: Truth) -> None:
    assert cache.cached("7") is None
    assert await cache.get("7") == 1007
    assert cache.cached("7") == 1007
    assert await cache.get("7") == 1007
    assert truth.loads == [(["7"], False)]


async def test_that_there_is_nothing_is_remembered_for_a_shorter_time(
    cache: Cache[int], truth: Truth, clock: ManualClock
) -> None:
    assert await cache.get("none") is None
    assert cache.cached("none") is MISSING
    assert await cache.get("none") is None
    assert len(truth.loads) == 1
    clock.advance(cache.times.negative_seconds)
    assert cache.cached("none") is None
    truth.write("none", 1)
    assert await cache.get("none") == 1


async def test_an_entry_ends_with_its_time_to_live(cache: Cache[int], truth: Truth, clock: ManualClock) -> None:
    await cache.get("7")
    truth.write("7", 2)
    clock.advance(cache.times.seconds - 0.001)
    assert cache.cached("7") == 1007
    clock.advance(0.001)
    assert cache.cached("7") is None
    assert await cache.get("7") == 2


async def test_the_age_of_an_entry_counts_from_before_it_was_read(
    cache: Cache[int], truth: Truth, clock: ManualClock
) -> None:
    truth.gate.clear()
    reading = asyncio.create_task(cache.get("7"))
    await settle()
    clock.advance(cache.times.seconds)
    truth.gate.set()
    assert await reading == 1007
    assert cache.cached("7") is None


async def test_entries_made_together_do_not_end_together(truth: Truth, clock: ManualClock) -> None:
    cache = cache_of(truth, times=Times(jitter=0.5))
    await asyncio.gather(*(cache.get(str(number)) for number in range(20)))
    clock.advance(cache.times.seconds * 0.75)
    assert 0 < sum(cache.cached(str(number)) is None for number in range(20)) < 20
    clock.advance(cache.times.seconds * 0.25)
    assert all(cache.cached(str(number)) is None for number in range(20))


async def test_misses_of_one_moment_are_loaded_together_and_each_key_once(cache: Cache[int], truth: Truth) -> None:
    found = await asyncio.gather(*(cache.get(str(number % 3)) for number in range(30)))
    assert found == [1000 + number % 3 for number in range(30)]
    assert truth.loads == [(["0", "1", "2"], False)]


async def test_a_waiter_who_is_cancelled_takes_nothing_from_the_others(cache: Cache[int], truth: Truth) -> None:
    truth.gate.clear()
    readers = [asyncio.create_task(cache.get("7")) for _ in range(3)]
    await settle()
    readers[0].cancel()
    await settle()
    assert readers[0].cancelled()
    truth.gate.set()
    assert await asyncio.gather(*readers[1:]) == [1007, 1007]


async def test_a_load_whose_waiters_were_all_cancelled_is_remembered(cache: Cache[int], truth: Truth) -> None:
    truth.gate.clear()
    reader = asyncio.create_task(cache.get("7"))
    await settle()
    reader.cancel()
    await settle()
    truth.gate.set()
    await settle()
    assert cache.cached("7") == 1007


async def test_each_waiter_gets_the_loaders_error_as_its_own_and_nothing_is_remembered(
    cache: Cache[int], truth: Truth
) -> None:
    truth.error = DatabaseUnavailable("the disk is full", retry_after=7)
    failures = await asyncio.gather(*(cache.get("7") for _ in range(3)), return_exceptions=True)
    assert len({id(failure) for failure in failures}) == 3
    for failure in failures:
        assert isinstance(failure, DatabaseUnavailable)
        assert failure is not truth.error
        assert failure.detail == "the disk is full"
        assert failure.headers == {"Retry-After": "7"}
        assert failure.__cause__ is truth.error
    truth.error = None
    assert await cache.get("7") == 1007


async def test_an_error_that_nobody_waits_for_bothers_nobody(cache: Cache[int], truth: Truth) -> None:
    truth.gate.clear()
    truth.error = DatabaseUnavailable()
    reader = asyncio.create_task(cache.get("7"))
    await settle()
    reader.cancel()
    truth.gate.set()
    await settle()
    truth.error = None
    assert await cache.get("7") == 1007


class Awkward(Exception):
    def __new__(cls, one: int, *, two: int) -> Self:
        return super().__new__(cls, one)

    def __init__(self, one: int, *, two: int) -> None:
        super().__init__(one)


async def test_an_error_that_cannot_be_made_again_still_reaches_every_waiter(cache: Cache[int], truth: Truth) -> None:
    truth.error = Awkward(1, two=2)
    failures = await asyncio.gather(*(cache.get("7") for _ in range(3)), return_exceptions=True)
    assert [failure.__cause__ for failure in failures] == [truth.error] * 3


async def test_a_loader_that_answers_for_too_few_keys_is_an_error(clock: ManualClock) -> None:
    async def load(keys, *, fresh):
        return [1]

    cache: Cache[int] = Cache(load, name="short", clock=clock)
    failures = await asyncio.gather(cache.get("a"), cache.get("b"), return_exceptions=True)
    assert [type(failure) for failure in failures] == [ValueError, ValueError]


async def test_an_outdated_answer_is_given_only_where_that_was_asked_for(truth: Truth, clock: ManualClock) -> None:
    strict, lenient = cache_of(truth), cache_of(truth, times=Times(jitter=0.0, stale_if_error_seconds=30.0))
    for cache in (strict, lenient):
        await cache.get("7")
    truth.error = DatabaseUnavailable()
    clock.advance(lenient.times.seconds + 29.9)
    with pytest.raises(DatabaseUnavailable):
        await strict.get("7")
    assert await lenient.get("7") == 1007
    clock.advance(0.1)
    with pytest.raises(DatabaseUnavailable):
        await lenient.get("7")


async def test_what_was_changed_does_not_come_back_as_an_outdated_answer(truth: Truth, clock: ManualClock) -> None:
    cache = cache_of(truth, times=Times(jitter=0.0, stale_if_error_seconds=30.0))
    await cache.get("7")
    await cache.invalidate("7")
    truth.error = DatabaseUnavailable()
    with pytest.raises(DatabaseUnavailable):
        await cache.get("7")


async def test_a_changed_entry_is_gone_at_once(cache: Cache[int], truth: Truth) -> None:
    await cache.get("7")
    async with cache.changing("7"):
        truth.write("7", 2)
    assert cache.cached("7") is None
    assert await cache.get("7") == 2


async def test_a_load_that_began_before_a_change_is_not_remembered(cache: Cache[int], truth: Truth) -> None:
    truth.gate.clear()
    reader = asyncio.create_task(cache.get("7"))
    await settle()
    truth.write("7", 2)
    await cache.invalidate("7")
    later = asyncio.create_task(cache.get("7"))
    truth.gate.set()
    assert await reader == 1007
    assert await later == 2
    assert cache.cached("7") == 2


async def test_a_write_that_fails_or_is_cancelled_invalidates_too(cache: Cache[int], truth: Truth) -> None:
    async def write(error: BaseException) -> None:
        async with cache.changing("7"):
            await cache.get("7")
            raise error

    for error in (DatabaseUnavailable(), asyncio.CancelledError()):
        await cache.get("7")
        with pytest.raises(type(error)):
            await write(error)
        assert cache.cached("7") is None


async def test_after_a_change_the_primary_is_asked_until_replicas_have_followed(
    cache: Cache[int], truth: Truth, clock: ManualClock
) -> None:
    truth.lag = cache.times.changing_seconds - 0.1
    clock.advance(100)
    truth.write("7", 2)
    await cache.invalidate("7")
    assert await cache.get("7") == 2
    clock.advance(cache.times.changing_seconds)
    truth.loads.clear()
    await cache.get("8")
    assert truth.loads == [(["8"], False)]


async def test_more_changes_than_are_remembered_send_every_load_to_the_primary(
    truth: Truth, clock: ManualClock
) -> None:
    cache = cache_of(truth, max_entries=4)
    for number in range(6):
        await cache.invalidate(str(number))
    await cache.get("19")
    assert truth.loads == [(["19"], True)]
    clock.advance(cache.times.changing_seconds)
    await cache.invalidate("0")
    await cache.get("18")
    assert truth.loads[1] == (["18"], False)


async def test_entries_are_bounded_and_those_in_use_stay(truth: Truth) -> None:
    cache = cache_of(truth, max_entries=10)
    for number in range(20):
        await cache.get(str(number))
        assert await cache.get("0") == 1000
        assert len(cache.local) <= 10
    assert sum(keys.count("0") for keys, _ in truth.loads) == 1
    assert cache.cached("1") is None


async def test_weight_is_bounded_and_what_is_too_heavy_is_not_kept(truth: Truth) -> None:
    cache = cache_of(truth, max_weight=4000, weigh=lambda value: value)
    for number in range(20):
        await cache.get(str(number))
        assert len(cache.local) <= 2
    truth.write("heavy", 2001)
    assert await cache.get("heavy") == 2001
    assert cache.cached("heavy") is None
    assert cache.cached("19") == 1019


async def test_reads_are_counted_by_the_layer_that_answered(cache: Cache[int]) -> None:
    await asyncio.gather(cache.get("7"), cache.get("7"))
    cache.cached("7")
    await cache.get("none")
    cache.cached("none")
    await cache.invalidate("7")
    assert cache.local.reads == {"local": 1, "shared": 0, "loaded": 3, "negative": 1}
    assert cache.invalidations == 1


async def test_a_closed_cache_finishes_its_loads_and_takes_no_more(cache: Cache[int], truth: Truth) -> None:
    truth.gate.clear()
    reader = asyncio.create_task(cache.get("7"))
    await settle()
    closing = asyncio.create_task(cache.aclose())
    truth.gate.set()
    await closing
    assert await reader == 1007
    with pytest.raises(ShuttingDown):
        await cache.get("8")
