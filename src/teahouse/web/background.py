"""Work after the answer, which a shutdown finishes or hands back but never drops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from teahouse.problems import Overloaded, ShuttingDown

_log = logging.getLogger(__name__)

Action = Callable[[], Awaitable[None]]


class Work:
    """One piece of work and what to do with it where it cannot be finished."""

    __slots__ = ("hand_back", "name", "run")

    def __init__(self, run: Action, hand_back: Action, name: str) -> None:
        self.run = run
        self.hand_back = hand_back
        self.name = name


class Background:
    """A handler's way to add work that starts once its answer has been sent.

    The work is dropped where the handler itself fails, for then its answer is a problem.
    """

    __slots__ = ("_pieces", "_worker")

    def __init__(self, worker: BackgroundWorker, pieces: list[Work]) -> None:
        self._worker = worker
        self._pieces = pieces

    def add(self, run: Action, *, hand_back: Action, name: str = "background work") -> None:
        """``run`` starts after the answer; ``hand_back`` is awaited where it failed or the shutdown came first.

        Raises ``Overloaded`` where too much is waiting already, ``ShuttingDown`` where the server is stopping.
        """
        self._worker.admit()
        self._pieces.append(Work(run, hand_back, name))


class BackgroundWorker:
    """Runs the pieces of work of one process, at most ``limit`` at a time."""

    def __init__(self, *, limit: int = 1000) -> None:
        self._limit = limit
        self._tasks: dict[asyncio.Task[None], Work] = {}
        self._stopping = False
        self._admitted = 0
        self.finished = 0
        self.handed_back = 0

    @property
    def running(self) -> int:
        """Pieces that have started and not ended."""
        return len(self._tasks)

    def open(self) -> None:
        """Takes work, also after an ``aclose``."""
        self._stopping = False

    def admit(self) -> None:
        """Keeps room for one piece, which is then started or released. Raises where it cannot be taken."""
        if self._stopping:
            raise ShuttingDown
        if len(self._tasks) + self._admitted >= self._limit:
            raise Overloaded(f"{self._limit} pieces of background work are running already")
        self._admitted += 1

    def release(self, pieces: list[Work]) -> None:
        """Drops work that was admitted and will not start."""
        self._admitted -= len(pieces)

    def start(self, pieces: list[Work]) -> None:
        """Starts work that was admitted."""
        self._admitted -= len(pieces)
        for piece in pieces:
            task = asyncio.get_running_loop().create_task(self._run(piece), name=piece.name)
            self._tasks[task] = piece
            task.add_done_callback(self._ended)

    async def aclose(self, seconds: float) -> None:
        """Waits that long for what is running; the rest is cancelled and handed back, within as long again."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        deadline = asyncio.get_running_loop().time() + seconds
        while self._tasks and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(list(self._tasks), timeout=left)
        for piece in self._tasks.values():
            _log.error("background work %r could be neither finished nor handed back in time", piece.name)

    async def _run(self, piece: Work) -> None:
        try:
            await piece.run()
        except asyncio.CancelledError:
            await self._hand_back(piece)
        except Exception:
            _log.exception("background work %r failed and is handed back", piece.name)
            await self._hand_back(piece)
        else:
            self.finished += 1

    async def _hand_back(self, piece: Work) -> None:
        try:
            await piece.hand_back()
            self.handed_back += 1
        except Exception:
            _log.exception("background work %r could not be handed back", piece.name)

    def _ended(self, task: asyncio.Task[None]) -> None:
        piece = self._tasks.pop(task)
        if task.cancelled():
            # Cancelled before its first step, so that _run never saw it.
            again = asyncio.get_running_loop().create_task(self._hand_back(piece), name=piece.name)
            self._tasks[again] = piece
            again.add_done_callback(lambda done: self._tasks.pop(done, None))
