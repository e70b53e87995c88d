"""Batching under any interleaving that hypothesis can think of."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from teahouse.batching import FlushFailed
from teahouse.problems import Overloaded
from tests.batches import Engine, batcher, settle


class BatchingMachine(RuleBasedStateMachine):
    """Any interleaving of calls, cancellations, flushes that end well or badly, and turns of the loop."""

    max_flushes = 1

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _loop, context: self.escaped.append(context))
        self.escaped: list[object] = []
        self.calls: dict[int, asyncio.Future[int]] = {}
        self.cancelled_waiting: set[int] = set()
        self.next_call = 0
        self.failing = False
        self.run(self._open())

    async def _open(self) -> None:
        self.engine = Engine()
        self.engine.outcome = self._outcome
        self.batching = batcher(self.engine, max_batch=4, max_waiting=6, max_flushes=self.max_flushes)

    def _outcome(self, calls: list[int]) -> list[object]:
        if self.failing:
            raise OSError("the engine is away")
        return [ValueError(call) if call % 5 == 0 else call * 10 for call in calls]

    def run(self, coroutine) -> None:
        self.loop.run_until_complete(asyncio.wait_for(coroutine, 5))

    @rule(count=st.integers(1, 9))
    def submit(self, count: int) -> None:
        async def go() -> None:
            for _ in range(count):
                waiting = self._live()
                try:
                    future = self.batching.submit(self.next_call)
                except Overloaded:
                    # One that was withdrawn may hold its place for a few refusals more.
                    assert waiting >= 6 or self.cancelled_waiting
                else:
                    self.calls[self.next_call] = future
                    self.next_call += 1

        self.run(go())

    def _live(self) -> int:
        sent = {call for batch in self.engine.batches for call in batch}
        return sum(not future.done() for call, future in self.calls.items() if call not in sent)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel(self, data) -> None:
        call = data.draw(st.sampled_from(sorted(self.calls)))
        left = any(call in batch for batch in self.engine.batches)
        if self.calls[call].cancel() and not left:
            self.cancelled_waiting.add(call)

    @rule(turns=st.integers(1, 4))
    def turn(self, turns: int) -> None:
        async def go() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(go())

    @precondition(lambda self: self.engine.under_way)
    @rule(failing=st.booleans())
    def end_flush(self, failing: bool) -> None:
        async def go() -> None:
            self.failing = failing
            self.engine.gate.release()
            await settle()
            self.failing = False

        self.run(go())

    @invariant()
    def no_more_flushes_than_may_overlap_in_order_and_within_their_size(self) -> None:
        assert self.engine.most_under_way <= self.max_flushes
        sent = [call for batch in self.engine.batches for call in batch]
        assert sent == sorted(set(sent))
        assert all(1 <= len(batch) <= 4 for batch in self.engine.batches)
        assert not self.cancelled_waiting & set(sent)

    @invariant()
    def each_caller_has_its_own_outcome(self) -> None:
        for call, future in self.calls.items():
            if not future.done() or future.cancelled():
                continue
            error = future.exception()
            if error is None:
                assert future.result() == call * 10
                assert call % 5
            else:
                assert isinstance(error, FlushFailed) or (isinstance(error, ValueError) and error.args == (call,))

    def teardown(self) -> None:
        async def close() -> None:
            closing = asyncio.ensure_future(self.batching.aclose())
            while not closing.done():
                self.engine.gate.release()
                await asyncio.sleep(0)
            await closing

        self.run(close())
        assert all(future.done() for future in self.calls.values())
        self.each_caller_has_its_own_outcome()
        self.loop.close()
        assert self.escaped == []


class OverlappingMachine(BatchingMachine):
    """The same with two flushes at a time."""

    max_flushes = 2


_SETTINGS = settings(max_examples=60, stateful_step_count=30, deadline=None)
BatchingMachine.TestCase.settings = _SETTINGS
OverlappingMachine.TestCase.settings = _SETTINGS
TestBatching = BatchingMachine.TestCase
TestOverlapping = OverlappingMachine.TestCase
