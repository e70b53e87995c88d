"""A stop loses nobody: who got a connection gets an answer, until there are no connections to be had."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.processes import Served, served
from tests.web.callers import ASKING, DEADLINE_SECONDS, Caller, calling, until

ROOT = Path(__file__).parents[2]


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def stop_under_load(server: Served) -> list[Caller]:
    callers = calling(server.url)
    until(lambda: all(caller.answered > 20 for caller in callers), "every caller is at work")
    assert server.stop() == 0
    for caller in callers:
        caller.join(DEADLINE_SECONDS)
        assert not caller.is_alive()
    return callers


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])
def test_no_connection_that_was_had_is_lost_by_a_stop(host: str):
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    for _ in range(3):
        with served("examples.hello:app", "--host", host, cwd=ROOT, TEAHOUSE_ACCESS_LOG="off") as server:
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
