"""Callers that never rest, for tests in which nobody may be lost."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

ASKING = b"GET /user/7 HTTP/1.1\r\nHost: x\r\n\r\n"
DEADLINE_SECONDS = 30.0


class Caller(threading.Thread):
    """Connects again and again, asks ``each`` times on a connection, and ends with the first that is refused.

    ``lost`` has what must not be: a connection that was had and whose requests were not answered.
    """

    def __init__(self, url: str, *, each: int = 1) -> None:
        super().__init__(daemon=True)
        parts = urlsplit(url)
        self.address = (parts.hostname, parts.port)
        self.each = each
        self.answered = 0
        self.told_to_close = 0
        self.lost: list[str] = []
        self.refused_at = 0.0
        self.enough = threading.Event()

    def run(self) -> None:
        while not self.refused_at and not self.enough.is_set():
            try:
                wire = socket.create_connection(self.address, timeout=DEADLINE_SECONDS)
            except ConnectionRefusedError:
                self.refused_at = time.monotonic()
            except OSError as error:
                self.lost.append(f"connecting: {error!r}")
            else:
                with wire:
                    self._ask(wire)

    def _ask(self, wire: socket.socket) -> None:
        try:
            for _ in range(self.each):
                wire.sendall(ASKING)
                answer = wire.recv(65536)
                if not answer.endswith(b'{"id":"7"}'):
                    self.lost.append(f"answer: {answer!r}")
                    return
                self.answered += 1
                if b"connection: close\r\n" in answer:
                    self.told_to_close += 1
                    return
        except OSError as error:
            self.lost.append(f"asking: {error!r}")


def calling(url: str, count: int = 6) -> list[Caller]:
    callers = [Caller(url, each=1 if number % 2 else 3) for number in range(count)]
    for caller in callers:
        caller.start()
    return callers


def content(callers: list[Caller]) -> int:
    """Ends them; fails where one has lost a request. How many answers they had."""
    for caller in callers:
        caller.enough.set()
    for caller in callers:
        caller.join(DEADLINE_SECONDS)
        assert not caller.is_alive()
    assert [caller.lost for caller in callers] == [[]] * len(callers)
    return sum(caller.answered for caller in callers)


def until(condition: Callable[[], Any], what: str) -> Any:
    """The condition's first true value; fails when the deadline passes first."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it never came about that {what}"
        time.sleep(0.005)
    return found
