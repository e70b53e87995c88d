"""The supervisor against every order of events: no process is forgotten, and no queue has nobody to accept from it."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from teahouse.cli.post import ACCEPT, CEDE, READY, RETIRE, STOP, Post
from teahouse.cli.workers import Supervisor

WORKERS = 3


class Pretended:
    """A worker without a process: it does what the machine decides, and keeps what it was told."""

    def __init__(self, index: int, pid: int) -> None:
        self.index = index
        self.pid = pid
        self.post, theirs = Post.pair()
        self.theirs = Post(theirs)
        self.ready_at: float | None = None
        self.deadline: float | None = None
        self.status: int | None = None
        self.accepting: set[int] = set()
        self.ending = ""

    @property
    def lives(self) -> bool:
        return self.status is None

    def end(self, status: int) -> None:
        self.status = status
        self.accepting.clear()
        self.theirs.close()

    def kill(self) -> None:
        if self.lives:
            self.end(-9)

    def reap(self) -> int:
        assert self.status is not None
        self.post.close()
        return self.status

    def listen(self) -> None:
        """Hears what has been said to it so far."""
        with contextlib.suppress(BlockingIOError):
            while self.lives and (message := self.theirs.hear()):
                word, about = message
                if word == ACCEPT:
                    self.accepting.add(int(about))
                elif word == CEDE:
                    self.accepting.discard(int(about))
                else:
                    self.ending = word
                    self.accepting.clear()


class Impatient(Supervisor):
    """Waits for nothing: the machine says when something happens."""

    def _pause(self) -> float | None:
        return 0


class Node(RuleBasedStateMachine):
    """Starts, readiness, deaths, hang-ups and time in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1000.0
        self.born: list[Pretended] = []
        self.greetings: list[str] = []
        self.failed_starts = [0] * WORKERS
        self.doors = [(socket.socket(),) for _ in range(WORKERS)]
        self.hearing, self.telling = socket.socketpair()
        self.hearing.settimeout(0)
        self.supervisor = Impatient(
            self.start, self.doors, stop_seconds=60, on_ready=self.greetings.append, now=lambda: self.time
        )
        self.go()

    def start(self, index: int, _doors: object) -> Pretended:
        self.born.append(Pretended(index, len(self.born)))
        return self.born[-1]

    def go(self) -> None:
        """Lets the supervisor notice, and the workers hear what follows."""
        for _ in range(3):
            self.supervisor._step(self.hearing.fileno())
        for worker in self.living():
            worker.listen()

    def living(self) -> Iterator[Pretended]:
        return (worker for worker in self.born if worker.lives)

    def pick(self, number: int, kind: str) -> Pretended | None:
        """One of those that are ``coming`` or ``serving``, or of all."""
        seats = self.supervisor._seats
        able = [getattr(seat, kind) for seat in seats if getattr(seat, kind)] if kind else list(self.living())
        return able[number % len(able)] if able else None

    def serves(self) -> bool:
        return not self.supervisor._stopping

    @precondition(serves)
    @rule(number=st.integers(0, 9))
    def a_worker_is_ready(self, number: int) -> None:
        if worker := self.pick(number, "coming"):
            worker.accepting.add(worker.index)
            self.failed_starts[worker.index] = 0
            worker.theirs.say(READY, "Tea")
            self.go()

    @precondition(serves)
    @rule(number=st.integers(0, 9), status=st.sampled_from([0, 1, -9]))
    def a_worker_dies(self, number: int, status: int) -> None:
        if worker := self.pick(number, ""):
            seat = self.supervisor._seats[worker.index]
            in_place_of_another = worker is seat.coming and seat.serving is not None
            self.failed_starts[worker.index] += worker is seat.coming and seat.serving is None
            worker.end(status)
            self.go()
            # What did not start once would not start for the others.
            assert not (in_place_of_another and self.supervisor._to_replace)

    @precondition(serves)
    @rule(number=st.integers(0, 9))
    def a_worker_that_was_told_to_ends(self, number: int) -> None:
        told = [worker for worker in self.living() if worker.ending]
        if told:
            told[number % len(told)].end(0)
            self.go()

    @precondition(serves)
    @rule()
    def the_operator_wants_new_workers(self) -> None:
        self.supervisor._told(signal.SIGHUP)
        self.go()

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.time += seconds
        self.go()

    @invariant()
    def no_process_is_forgotten(self) -> None:
        known = {id(worker) for seat in self.supervisor._seats for worker in seat.all}
        assert known == {id(worker) for worker in self.living()}
        assert len(known) <= WORKERS + 1

    @invariant()
    def every_queue_has_somebody(self) -> None:
        serving = [seat.serving for seat in self.supervisor._seats if seat.serving]
        if not serving or not self.serves():
            return
        assert {index for worker in serving for index in worker.accepting} == set(range(WORKERS))
        for worker in serving:
            assert worker.index in worker.accepting
            assert not any(worker.index in other.accepting for other in serving if other is not worker)

    @invariant()
    def sockets_stay_open_until_the_stop(self) -> None:
        assert all((door.fileno() < 0) == self.supervisor._stopping for (door,) in self.doors)

    @invariant()
    def it_gives_up_only_when_starts_fail_again_and_again(self) -> None:
        if self.supervisor._stopping:
            assert max(self.failed_starts) >= (8 if self.greetings else 3)
            assert self.supervisor._status > 0

    @invariant()
    def it_greets_once(self) -> None:
        assert self.greetings in ([], ["Tea"])

    def teardown(self) -> None:
        gave_up = self.supervisor._stopping
        if not gave_up:
            self.supervisor._told(signal.SIGTERM)
        for worker in list(self.living()):
            worker.listen()
            assert worker.ending in (STOP, RETIRE)
            worker.end(0)
        self.go()
        assert not any(seat.all for seat in self.supervisor._seats)
        assert (self.supervisor._status != 0) == gave_up
        self.supervisor._selector.close()
        for sock in (self.hearing, self.telling):
            sock.close()


class TestNode(Node.TestCase):
    """With more steps than usual: the interesting orders are long."""

    settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
