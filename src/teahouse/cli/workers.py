"""The supervisor of a node with several workers: it owns their sockets, starts them anew and passes on signals.

It has no event loop and loads no app, and it is never in the way of a request. SIGTERM and SIGINT stop the node in
order, a second one at once; SIGHUP replaces the workers one after the other.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import zip_longest

from teahouse.cli.doors import Doors
from teahouse.cli.post import ACCEPT, CEDE, PLAIN, READY, RETIRE, STOP
from teahouse.cli.worker_process import Start, WorkerProcess, say

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
# A worker that has lived for so long died of something else than its start.
_SETTLED_SECONDS = 10.0
# Before anybody was served nothing is lost by giving up soon; later an engine may be away for a while.
_FIRST_ATTEMPTS = 3
_LATER_ATTEMPTS = 8
_WRONG_SETTINGS = 2
_AT_ONCE = 130


class Seat:
    """One worker's place: who serves, who is coming, who is leaving, and who stands in while nobody serves."""

    def __init__(self, index: int, http: Doors, realtime: Doors) -> None:
        self.index = index
        self.http = http
        self.realtime = realtime
        self.serving: WorkerProcess | None = None
        self.coming: WorkerProcess | None = None
        self.leaving: WorkerProcess | None = None
        self.stand_in: WorkerProcess | None = None
        self.failures = 0
        self.failed_starts = 0
        self.due = 0.0

    @property
    def doors(self) -> Doors:
        """What is listened on for it."""
        return (*self.http, *self.realtime)

    @property
    def all(self) -> list[WorkerProcess]:
        """Its processes."""
        return [each for each in (self.serving, self.coming, self.leaving) if each is not None]

    @property
    def is_empty(self) -> bool:
        """Whether nobody serves or is about to."""
        return self.serving is None and self.coming is None


class Supervisor:
    """Keeps one worker for each of ``doors`` alive. ``stop_seconds`` is the longest that one may take to stop.
    ``realtime`` is what else each listens on, where the app takes sockets beside HTTP.

    ``start`` makes a worker's process; ``on_ready`` gets the app's title once all workers serve for the first time;
    ``now`` is in seconds.
    """

    def __init__(
        self,
        start: Start,
        doors: Sequence[Doors],
        *,
        stop_seconds: float,
        on_ready: Callable[[str], None],
        realtime: Sequence[Doors] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start = start
        self._seats = [
            Seat(index, http, also) for index, (http, also) in enumerate(zip_longest(doors, realtime, fillvalue=()))
        ]
        self._stop_seconds = stop_seconds
        self._on_ready = on_ready
        self._now = now
        self._greeted = False
        self._to_replace: deque[Seat] = deque()
        self._replacing: Seat | None = None
        self._stopping = False
        self._status = 0
        self._selector = selectors.DefaultSelector()

    @property
    def takes_sockets(self) -> bool:
        """Whether anybody listens for what is not HTTP."""
        return any(seat.realtime for seat in self._seats)

    def run(self) -> int:
        """Until told to stop; the exit status: 0, or not where a worker could not be started or stopped."""
        hearing, telling = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(telling)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        self._selector.register(hearing, selectors.EVENT_READ)
        try:
            while not self._stopping or any(seat.all for seat in self._seats):
                self._step(hearing)
        finally:
            for seat in self._seats:
                for worker in seat.all:
                    worker.kill()
        return self._status

    def _step(self, hearing: int) -> None:
        if not self._stopping:
            self._start_due()
            self._replace_next()
            self._stand_in()
        for key, _ in self._selector.select(self._pause()):
            if key.fileobj == hearing:
                for number in os.read(hearing, 64):
                    self._told(number)
            else:
                self._heard(*key.data)
        self._kill_late()

    def _pause(self) -> float | None:
        """Until the next start or the next deadline."""
        moments = [worker.deadline for seat in self._seats for worker in seat.all if worker.deadline is not None]
        if not self._stopping:
            moments += [seat.due for seat in self._seats if seat.is_empty and self._may_start(seat)]
        return max(min(moments) - self._now(), 0) if moments else None

    # --- starting -----------------------------------------------------------------------------------------------------

    def _may_start(self, seat: Seat) -> bool:
        # The first brings the schema up to date and meets what is wrong, once and not N times.
        return seat.index == 0 or self._greeted or self._seats[0].serving is not None

    def _start_due(self) -> None:
        for seat in self._seats:
            if seat.is_empty and self._may_start(seat) and seat.due <= self._now():
                self._begin(seat)

    def _begin(self, seat: Seat) -> None:
        try:
            seat.coming = self._start(seat.index, [each.doors for each in self._seats])
        except OSError as error:
            say(f"worker {seat.index} cannot be started: {error}")
            self._did_not_start(seat, 1)
        else:
            self._selector.register(seat.coming.post, selectors.EVENT_READ, (seat, seat.coming))

    def _stand_in(self) -> None:
        """While a seat has no worker another accepts from its sockets: nobody waits for its return."""
        able = [seat.serving for seat in self._seats if seat.serving is not None]
        for seat in self._seats:
            if seat.serving is not None:
                if seat.stand_in in able and seat.stand_in is not None:
                    seat.stand_in.post.say(CEDE, str(seat.index))
                seat.stand_in = None
            elif able and seat.stand_in not in able:
                seat.stand_in = able[seat.index % len(able)]
                seat.stand_in.post.say(ACCEPT, str(seat.index))

    def _is_ready(self, seat: Seat, worker: WorkerProcess, title: str) -> None:
        seat.coming, before, seat.serving = None, seat.serving, worker
        seat.failed_starts = 0
        worker.ready_at = self._now()
        if before is not None:
            before.post.say(RETIRE)
            before.deadline = self._now() + self._stop_seconds
            seat.leaving = before
        if not self._greeted and all(each.serving is not None for each in self._seats):
            self._greeted = True
            self._on_ready(title)

    # --- endings ------------------------------------------------------------------------------------------------------

    def _heard(self, seat: Seat, worker: WorkerProcess) -> None:
        message = worker.post.hear()
        if message is None:
            self._selector.unregister(worker.post)
            self._has_ended(seat, worker, worker.reap())
        elif message[0] == PLAIN and not self._stopping:
            self._close_realtime()
        elif message[0] == READY and not self._stopping:
            self._is_ready(seat, worker, message[1])

    def _has_ended(self, seat: Seat, worker: WorkerProcess, status: int) -> None:
        expected = self._stopping or worker is seat.leaving
        if not expected or status != 0:
            say(f"worker {seat.index} (process {worker.pid}) ended with status {status}")
        if expected:
            self._status = self._status or int(status != 0 and self._stopping)
        seat.coming = None if worker is seat.coming else seat.coming
        seat.leaving = None if worker is seat.leaving else seat.leaving
        seat.serving = None if worker is seat.serving else seat.serving
        if not expected:
            self._ended_by_itself(seat, worker, status)

    def _ended_by_itself(self, seat: Seat, worker: WorkerProcess, status: int) -> None:
        if worker.ready_at is None:
            self._did_not_start(seat, status)
        else:
            settled = self._now() - worker.ready_at > _SETTLED_SECONDS
            seat.failures = 0 if settled else seat.failures
            self._pause_before_next(seat)

    def _did_not_start(self, seat: Seat, status: int) -> None:
        if seat.serving is not None:
            # A replacement. What serves goes on, and so do the others.
            say("the workers that serve stay; none is replaced until the next SIGHUP")
            self._to_replace.clear()
            self._replacing = None
            return
        self._pause_before_next(seat)
        seat.failed_starts += 1
        hopeless = status == _WRONG_SETTINGS and not self._greeted
        if hopeless or seat.failed_starts >= (_LATER_ATTEMPTS if self._greeted else _FIRST_ATTEMPTS):
            say(f"worker {seat.index} does not start; the node stops")
            self._status = status if status > 0 else 1
            self._stop()

    def _pause_before_next(self, seat: Seat) -> None:
        seat.due = self._now() + min(_FIRST_PAUSE_SECONDS * 2.0**seat.failures, _LONGEST_PAUSE_SECONDS)
        seat.failures += 1

    def _kill_late(self) -> None:
        for seat in self._seats:
            for worker in seat.all:
                if worker.deadline is not None and worker.deadline <= self._now():
                    say(f"worker {seat.index} (process {worker.pid}) did not stop in time")
                    worker.kill()
                    worker.deadline = None

    def _close_realtime(self) -> None:
        # Who connected there would never be answered. The first worker says so before the others are started.
        for seat in self._seats:
            for door in seat.realtime:
                door.close()
            seat.realtime = ()

    # --- signals ------------------------------------------------------------------------------------------------------

    def _told(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._to_replace = deque(self._seats)
        elif self._stopping:
            os._exit(self._end_at_once())
        else:
            self._stop()

    def _end_at_once(self) -> int:
        for seat in self._seats:
            for worker in seat.all:
                worker.kill()
        return _AT_ONCE

    def _stop(self) -> None:
        self._stopping = True
        for seat in self._seats:
            # The workers have them too, and close them when nobody waits there any more.
            for door in seat.doors:
                door.close()
            for worker in seat.all:
                worker.post.say(STOP)
                worker.deadline = self._now() + self._stop_seconds

    def _replace_next(self) -> None:
        """One at a time: the new one serves before the old one leaves, and the old one has left before the next."""
        if self._replacing is not None and self._replacing.coming is None and self._replacing.leaving is None:
            self._replacing = None
        if self._replacing is None and self._to_replace:
            seat = self._to_replace.popleft()
            # One that is not there is started anew in any case.
            if seat.serving is not None:
                self._replacing = seat
                self._begin(seat)
