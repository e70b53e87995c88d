"""Flush together: each caller gets its own result or its own error, whatever the others and the flush do."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teahouse.batching import SIZE_BOUNDS, Batcher, BatchSizes, FlushFailed
from teahouse.problems import Overloaded, ShuttingDown
from tests.batches import Engine, batcher, settle


async def test_a_lone_call_leaves_at_once():
    engine = Engine(gated=False)
    assert await batcher(engine).submit(7) == 70
    assert engine.batches == [[7]]


async def test_calls_of_one_moment_leave_together_in_their_order():
    engine = Engine(gated=False)
    batching = batcher(engine)
    results = await asyncio.gather(*(batching.submit(number) for number in range(5)))
    assert engine.batches == [[0, 1, 2, 3, 4]]
    assert results == [0, 10, 20, 30, 40]


async def test_what_comes_during_a_flush_gathers_for_the_next():
    engine = Engine()
    batching = batcher(engine)
    first = batching.submit(1)
    await settle()
    others = [batching.submit(number) for number in (2, 3, 4)]
    await settle()
    assert engine.batches == [[1]]
    engine.gate.release()
    assert await first == 10
    await settle()
    assert engine.batches == [[1], [2, 3, 4]]
    engine.gate.release()
    assert await asyncio.gather(*others) == [20, 30, 40]


async def test_a_batch_is_never_larger_than_its_limit():
    engine = Engine(gated=False)
    batching = batcher(engine, max_batch=3)
    assert await asyncio.gather(*(batching.submit(number) for number in range(8))) == [n * 10 for n in range(8)]
    assert engine.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_each_caller_gets_its_own_error():
    engine = Engine(gated=False)
    engine.outcome = lambda calls: [ValueError(call) if call % 2 else call for call in calls]
    batching = batcher(engine)
    results = await asyncio.gather(*(batching.submit(number) for number in range(4)), return_exceptions=True)
    assert results[0] == 0
    assert results[2] == 2
    assert isinstance(results[1], ValueError)
    assert results[1].args == (1,)
    assert isinstance(results[3], ValueError)
    assert results[3].args == (3,)


async def test_a_flush_that_raises_fails_its_own_batch_and_no_other():
    engine = Engine()
    batching = batcher(engine, max_batch=2)
    futures = [batching.submit(number) for number in range(4)]
    await settle()
    engine.outcome = _raise
    engine.gate.release()
    await settle()
    engine.outcome = lambda calls: calls
    engine.gate.release()
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert results[2:] == [2, 3]
    assert all(isinstance(result, FlushFailed) for result in results[:2])
    assert isinstance(results[0].__cause__, OSError)
    assert results[0] is not results[1]


@pytest.mark.parametrize("results", [[], [1], [1, 2, 3], None, 7])
async def test_a_flush_with_the_wrong_number_of_results_fails_every_caller(results):
    engine = Engine(gated=False)
    engine.outcome = lambda _calls: results
    batching = batcher(engine)
    answers = await asyncio.gather(batching.submit(1), batching.submit(2), return_exceptions=True)
    assert [type(answer) for answer in answers] == [FlushFailed, FlushFailed]
    engine.outcome = lambda calls: calls
    assert await batching.submit(3) == 3


@pytest.mark.parametrize("hostile", [StopIteration(), asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()])
async def test_an_odd_exception_for_one_caller_leaves_the_others_their_results(hostile):
    engine = Engine(gated=False)
    engine.outcome = lambda calls: [hostile if call == 1 else call for call in calls]
    batching = batcher(engine)
    futures = [batching.submit(number) for number in range(3)]
    async with asyncio.timeout(5):
        await asyncio.wait(futures)
    assert futures[0].result() == 0
    assert futures[2].result() == 2
    with pytest.raises(BaseException):  # noqa: B017, PT011  # whichever it is, it is not a result
        futures[1].result()
    assert await batching.submit(5) == 5


async def test_something_cancelled_inside_a_flush_fails_that_batch_only():
    engine = Engine(gated=False)

    def cancelled(_calls):
        raise asyncio.CancelledError

    engine.outcome = cancelled
    batching = batcher(engine, max_batch=1)
    first, second = batching.submit(1), batching.submit(2)
    await asyncio.sleep(0)
    with pytest.raises(FlushFailed):
        await first
    with pytest.raises(FlushFailed):
        await second
    engine.outcome = lambda calls: calls
    assert await batching.submit(3) == 3


async def test_a_caller_cancelled_before_its_call_has_left_withdraws_it():
    engine = Engine()
    batching = batcher(engine)
    first = batching.submit(1)
    await settle()
    gone, stays = batching.submit(2), batching.submit(3)
    gone.cancel()
    engine.gate.release()
    engine.gate.release()
    assert await first == 10
    assert await stays == 30
    assert engine.batches == [[1], [3]]


async def test_a_caller_cancelled_after_its_call_has_left_leaves_the_others_alone():
    engine = Engine()
    batching = batcher(engine)
    gone, stays = batching.submit(1), batching.submit(2)
    await settle()
    gone.cancel()
    engine.gate.release()
    assert await stays == 20
    assert engine.batches == [[1, 2]]


async def test_one_call_too_many_is_refused_at_once():
    engine = Engine()
    batching = batcher(engine, max_waiting=3)
    left = batching.submit(0)
    await settle()
    waiting = [batching.submit(number) for number in range(3)]
    with pytest.raises(Overloaded) as refused:
        batching.submit(4)
    assert refused.value.headers["Retry-After"]
    engine.gate.release()
    engine.gate.release()
    await asyncio.gather(left, *waiting)
    engine.gate.release()
    assert await batching.submit(5) == 50


async def test_withdrawn_calls_make_room():
    engine = Engine()
    batching = batcher(engine, max_waiting=3)
    left = batching.submit(0)
    await settle()
    for _ in range(5):
        for future in [batching.submit(number) for number in range(3)]:
            future.cancel()
    kept = batching.submit(9)
    assert batching.waiting == 1
    engine.gate.release()
    engine.gate.release()
    assert await left == 0
    assert await kept == 90


async def test_refusals_in_a_row_do_not_look_at_every_waiting_call_each_time():
    engine = Engine()
    batching = batcher(engine, max_waiting=2)
    batching.submit(0)
    await settle()
    waiting = [batching.submit(number) for number in (1, 2)]
    for _ in range(10):
        with pytest.raises(Overloaded):
            batching.submit(3)
    waiting[0].cancel()
    taken = None
    for _ in range(100):
        try:
            taken = batching.submit(4)
        except Overloaded:
            continue
        break
    assert taken is not None
    engine.gate.release()
    engine.gate.release()
    assert await asyncio.gather(waiting[1], taken) == [20, 40]


async def test_callers_are_cancelled_with_a_flusher_that_is_cancelled():
    engine = Engine()
    batching = batcher(engine, max_batch=1)
    sent, waiting = batching.submit(1), batching.submit(2)
    await settle()
    (flusher,) = batching._flushers
    flusher.cancel()
    await asyncio.wait([sent, waiting], timeout=5)
    assert sent.cancelled()
    assert waiting.cancelled()


async def test_many_calls_leave_as_two_shares_where_two_flushes_may_overlap():
    engine = Engine()
    batching = batcher(engine, max_flushes=2)
    calls = [batching.submit(number) for number in range(100)]
    await settle()
    assert [len(batch) for batch in engine.batches] == [50, 50]
    assert engine.under_way == 2
    engine.gate.release()
    await settle()
    assert [call.done() for call in calls] == [True] * 50 + [False] * 50
    engine.gate.release()
    assert await asyncio.gather(*calls) == [number * 10 for number in range(100)]


async def test_an_overlapping_flush_leaves_once_it_is_half_as_large_again_as_the_one_under_way():
    engine = Engine()
    batching = batcher(engine, max_flushes=2)
    for number in range(2):
        batching.submit(number)
    await settle()
    batching.submit(2)
    batching.submit(3)
    await settle()
    assert engine.batches == [[0, 1]]
    batching.submit(4)
    await settle()
    assert engine.batches == [[0, 1], [2, 3, 4]]
    batching.submit(5)
    await settle()
    assert len(engine.batches) == 2


async def test_who_is_answered_and_asks_again_at_once_is_in_the_next_of_overlapping_flushes():
    engine = Engine()
    batching = batcher(engine, max_flushes=2)
    first = [batching.submit(number) for number in range(2)]
    await settle()
    batching.submit(2)
    first[1].add_done_callback(lambda _done: batching.submit(3))
    engine.gate.release()
    await settle()
    assert engine.batches == [[0, 1], [2, 3]]


async def test_what_waits_beside_a_larger_flush_leaves_with_the_last_that_ends():
    engine = Engine()
    batching = batcher(engine, max_flushes=2)
    for number in range(4):
        batching.submit(number)
    await settle()
    others = [batching.submit(number) for number in range(4, 10)]
    await settle()
    late = batching.submit(10)
    engine.gate.release()
    await settle()
    assert len(engine.batches) == 2
    engine.gate.release()
    await asyncio.gather(*others)
    await settle()
    assert engine.batches[2:] == [[10]]
    engine.gate.release()
    assert await late == 100


async def test_one_of_two_overlapping_flushes_that_is_cancelled_leaves_the_other_its_calls():
    engine = Engine()
    batching = batcher(engine, max_flushes=2)
    first = batching.submit(1)
    await settle()
    (flusher,) = batching._flushers
    second = batching.submit(2)
    await settle()
    third = batching.submit(3)
    flusher.cancel()
    await settle()
    assert first.cancelled()
    engine.gate.release()
    assert await second == 20
    engine.gate.release()
    assert await third == 30


async def test_closing_waits_for_both_of_two_overlapping_flushes():
    engine = Engine()
    batching = batcher(engine, max_flushes=2)
    calls = [batching.submit(number) for number in range(64)]
    await settle()
    closing = asyncio.create_task(batching.aclose())
    engine.gate.release()
    await settle()
    assert not closing.done()
    engine.gate.release()
    await closing
    assert all(call.done() for call in calls)


async def test_closing_flushes_what_was_accepted_and_takes_no_more():
    engine = Engine()
    batching = batcher(engine, max_batch=2)
    futures = [batching.submit(number) for number in range(5)]
    closing = asyncio.create_task(batching.aclose())
    await settle()
    with pytest.raises(ShuttingDown):
        batching.submit(9)
    assert not closing.done()
    for _ in range(3):
        engine.gate.release()
    await closing
    assert [future.result() for future in futures] == [0, 10, 20, 30, 40]


async def test_closing_twice_or_without_calls_is_fine():
    engine = Engine(gated=False)
    batching = batcher(engine)
    await batching.aclose()
    await batching.aclose()
    with pytest.raises(ShuttingDown):
        batching.submit(1)


async def test_a_close_that_is_cancelled_does_not_cancel_the_flush():
    engine = Engine()
    batching = batcher(engine)
    future = batching.submit(1)
    closing = asyncio.create_task(batching.aclose())
    await settle()
    closing.cancel()
    await settle()
    engine.gate.release()
    assert await future == 10


async def test_a_submit_from_within_a_flush_goes_into_the_next_batch():
    batches: list[list[int]] = []
    inner: list[asyncio.Future[int]] = []

    async def flush(calls: list[int]) -> list[int]:
        batches.append(calls)
        if 1 in calls:
            inner.append(batching.submit(2))
        return calls

    batching: Batcher[int, int] = Batcher(flush, name="nested")
    assert await batching.submit(1) == 1
    assert await inner[0] == 2
    assert batches == [[1], [2]]


@given(st.integers(1, 5000))
def test_a_batchs_size_falls_into_the_bucket_that_holds_it(size):
    sizes = BatchSizes()
    sizes.observe(size)
    bucket = sizes.buckets.index(1)
    assert bucket == len(SIZE_BOUNDS) or size <= SIZE_BOUNDS[bucket]
    assert bucket == 0 or size > SIZE_BOUNDS[bucket - 1]
    assert (sizes.calls, sizes.flushes) == (size, 1)


def _raise(_calls):
    raise OSError("the engine is away")
