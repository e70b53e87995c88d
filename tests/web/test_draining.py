"""A stop loses nobody: who got a connection gets an answer, until there are no connections to be had."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.processes import Served, served

ROOT = Path(__file__).parents[2]
ASKING = b"GET /user/7 HTTP/1.1\r\nHost: x\r\n\r\n"
DEADLINE_SECONDS = 30.0


class Caller(threading.Thread):
    """Connects again and again, asks once on each connection, and ends with the first refused connection."""

    def __init__(self, url: str, *, each: int = 1) -> None:
        super().__init__(daemon=True)
        host, _, port = url.removeprefix("http://").partition(":")
        self.address = (host, int(port))
        self.each = each
        self.answered = 0
        self.told_to_close = 0
        self.lost: list[str] = []
        self.refused_at = 0.0

    def run(self) -> None:
        while not self.refused_at:
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


def until(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it never came about that {what}"
        time.sleep(0.005)


def stop_under_load(server: Served) -> list[Caller]:
    callers = calling(server.url)
    until(lambda: all(caller.answered > 20 for caller in callers), "every caller is at work")
    assert server.stop() == 0
    for caller in callers:
        caller.join(DEADLINE_SECONDS)
        assert not caller.is_alive()
    return callers


def test_no_connection_that_was_had_is_lost_by_a_stop():
    for _ in range(5):
        with served("examples.hello:app", cwd=ROOT, TEAHOUSE_ACCESS_LOG="off") as server:
            callers = stop_under_load(server)
        assert [caller.lost for caller in callers] == [[]] * len(callers)


def test_a_node_behind_a_balancer_goes_on_serving_while_the_balancer_has_not_noticed():
    with served("examples.hello:app", cwd=ROOT, TEAHOUSE_ACCESS_LOG="off", TEAHOUSE_DRAIN_SECONDS="1.5") as server:
        callers = calling(server.url)
        until(lambda: all(caller.answered > 20 for caller in callers), "every caller is at work")
        server.process.terminate()
        told = time.monotonic()
        until(lambda: ready(server.url) == (503, "not-ready"), "readiness ends")
        noticed = time.monotonic() - told
        before = sum(caller.answered for caller in callers)
        assert server.wait() == 0
        for caller in callers:
            caller.join(DEADLINE_SECONDS)
        assert [caller.lost for caller in callers] == [[]] * len(callers)
        assert noticed < 1
        assert min(caller.refused_at for caller in callers) - told >= 1.5
        assert sum(caller.answered for caller in callers) > before + 50
        assert all(caller.told_to_close for caller in callers)


def ready(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["type"].removeprefix("/problems/")


def test_a_connection_that_has_not_asked_yet_is_still_answered_after_the_stop_began():
    with served("examples.hello:app", cwd=ROOT, TEAHOUSE_ACCESS_LOG="off") as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS) as wire:
            server.process.terminate()
            wire.sendall(ASKING)
            assert wire.recv(65536).endswith(b'{"id":"7"}')
        assert server.wait() == 0


def test_without_a_balancer_a_stop_takes_no_noticeable_time():
    with served("examples.hello:app", cwd=ROOT, TEAHOUSE_ACCESS_LOG="off") as server:
        with urllib.request.urlopen(f"{server.url}/ping", timeout=5) as answer:
            assert answer.status == 200
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 1.5
