"""Flush together: the calls of one moment leave as one flush, and each caller gets its own result or its own error.

While one flush is under way the next one gathers; when traffic is low a batch is one call and nothing waits. There is
no timer. Where an engine works on another core, two flushes may overlap, so that it is not idle while this process
answers the callers of the last one. The Redis client, the stock ledger, the order recorder and message history all
wait through this.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar, cast

from teahouse.problems import Overloaded, ShuttingDown

Call = TypeVar("Call")
Result = TypeVar("Result")

SIZE_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# Shares of overlapping flushes are no smaller: each flush has its price.
_WHOLE = 32
# Few callers would else go round in many small batches. Measured: 1.5 is a twentieth less for the engine than 1.
_LARGER = 1.5
_LOOK_EVERY = 64


class FlushFailed(Exception):
    """The flush itself raised; what it had already done is not known here. ``__cause__`` is what it raised."""


class BatchSizes:
    """How many calls left together: a histogram with fixed bounds, for /metrics."""

    __slots__ = ("buckets", "calls", "flushes")

    def __init__(self) -> None:
        self.buckets = [0] * (len(SIZE_BOUNDS) + 1)
        self.calls = 0
        self.flushes = 0

    def observe(self, size: int) -> None:
        """Counts one flush of that many calls."""
        self.calls += size
        self.flushes += 1
        # Bounds are powers of two: the bucket is the bit length of size - 1.
        self.buckets[min((size - 1).bit_length(), len(SIZE_BOUNDS))] += 1


class Batcher(Generic[Call, Result]):
    """Gathers calls and hands them to ``flush``, one batch at a time, oldest first.

    With ``max_flushes`` above 1 so many batches may be under way: many calls leave in equal shares, and another batch
    leaves once it is half as large again as those that are under way. They leave in order; whether they end so is up to
    ``flush``. The answers of one go out before the next leaves: who has got one may ask again, and be in it.

    ``flush`` takes up to ``max_batch`` calls and returns one result or one exception for each, in the same order.
    At most ``max_waiting`` calls wait; one more is answered ``Overloaded``. A caller cancelled before its call has
    left withdraws it; after that the call is carried out and its result dropped.
    """

    def __init__(
        self,
        flush: Callable[[list[Call]], Awaitable[Sequence[Result | BaseException]]],
        *,
        name: str,
        max_batch: int = 1024,
        max_waiting: int = 10_000,
        max_flushes: int = 1,
    ) -> None:
        self.name = name
        self.sizes = BatchSizes()
        self._flush = flush
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._max_flushes = max_flushes
        self._waiting: deque[tuple[Call, asyncio.Future[Result]]] = deque()
        self._flushers: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = False
        self._under_way = 0
        self._closed = False
        self._refused = 0

    @property
    def waiting(self) -> int:
        """Calls that have not left yet."""
        return len(self._waiting)

    def submit(self, call: Call) -> asyncio.Future[Result]:
        """Adds a call; await the future for its own result.

        Raises ``Overloaded`` or ``ShuttingDown`` at once when the call is not taken.
        """
        if self._closed:
            raise ShuttingDown
        if len(self._waiting) >= self._max_waiting and not self._make_room():
            raise Overloaded(f"{self.name}: {self._max_waiting} calls are waiting already")
        loop = self._loop
        if loop is None:
            # Kept, because asking for it is a system call (getpid) in Python 3.11.
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((call, future))
        if not self._starting and self._may_leave(len(self._flushers)):
            self._start(loop)
        return future

    async def aclose(self) -> None:
        """Takes no new call and returns when every accepted one has its result."""
        self._closed = True
        while self._flushers:
            await asyncio.wait(self._flushers)

    def _make_room(self) -> bool:
        # Withdrawn calls hold their places until here. Looking at all of them costs: not at each refusal in a row.
        self._refused += 1
        if self._refused % _LOOK_EVERY != 1:
            return False
        self._waiting = deque(entry for entry in self._waiting if not entry[1].done())
        if len(self._waiting) >= self._max_waiting:
            return False
        self._refused = 0
        return True

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        # The task starts on the loop's next turn, so that all calls of this turn leave together.
        self._starting = True
        self._flushers.add(loop.create_task(self._drain(loop), name=f"flush {self.name}"))

    def _may_leave(self, others: int, larger: float = _LARGER) -> bool:
        if others == 0:
            return True
        return others < self._max_flushes and len(self._waiting) * others >= self._under_way * larger

    async def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        self._starting = False
        try:
            while batch := self._take():
                self._under_way += len(batch)
                if self._waiting and not self._starting and self._may_leave(len(self._flushers), 1):
                    self._start(loop)
                try:
                    await self._send(batch)
                finally:
                    self._under_way -= len(batch)
                if self._max_flushes > 1:
                    await asyncio.sleep(0)
                if not self._may_leave(len(self._flushers) - 1):
                    break
        finally:
            self._flushers.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if not self._flushers:
                for _, future in self._waiting:
                    future.cancel()
                self._waiting.clear()

    def _take(self) -> list[tuple[Call, asyncio.Future[Result]]]:
        batch: list[tuple[Call, asyncio.Future[Result]]] = []
        waiting = self._waiting
        share = -(-(len(waiting) + self._under_way) // self._max_flushes)
        most = min(self._max_batch, max(_WHOLE, share))
        while waiting and len(batch) < most:
            entry = waiting.popleft()
            if not entry[1].done():
                batch.append(entry)
        return batch

    async def _send(self, batch: list[tuple[Call, asyncio.Future[Result]]]) -> None:
        self.sizes.observe(len(batch))
        try:
            results = await self._flush([call for call, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{self.name}: {len(batch)} calls left, {len(results)} results came back")
        except (Exception, asyncio.CancelledError) as error:  # whatever it was, each caller is told
            if _is_being_cancelled(error):
                for _, future in batch:
                    future.cancel()
                raise
            _fail_each(batch, error, self.name)
        else:
            self._settle(batch, results)

    def _settle(
        self, batch: list[tuple[Call, asyncio.Future[Result]]], results: Sequence[Result | BaseException]
    ) -> None:
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, StopIteration):
                # A future takes any exception but this one.
                _fail_each([(None, future)], result, self.name)
            elif isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)


def _is_being_cancelled(error: BaseException) -> bool:
    """Whether this task itself is cancelled, and not merely something that it waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _fail_each(batch: Sequence[tuple[object, asyncio.Future[Result]]], error: BaseException, name: str) -> None:
    for _, future in batch:
        if not future.done():
            # Each caller gets an exception of its own: a shared one would gather every caller's traceback.
            failure = FlushFailed(f"{name}: {error}")
            failure.__cause__ = error
            future.set_exception(failure)


def failed(error: Exception) -> asyncio.Future[Any]:
    """What a call that is not taken gives to a caller who awaits its result."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future
