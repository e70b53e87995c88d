"""A node with several workers and its other port: there for an app that takes sockets, and for no other."""

from __future__ import annotations

import os
import re
import signal
import socket
import urllib.request
from pathlib import Path

import pytest

from tests.databases import free_port
from tests.processes import Served, served
from tests.web.callers import until
from tests.web.test_workers import NO_REDIS, alive, children, get, node

APP = """
import asyncio, os
from pathlib import Path
from teahouse.web import App

app = App(title="Many")

@app.get("/who")
def who() -> dict[str, int]:
    return {"pid": os.getpid()}

class Telling:
    port = 0
    most_connections = 100

    async def start(self, host, port):
        raise NotImplementedError

    async def accept_from(self, listening):
        def answer(reader, writer):
            writer.write(str(os.getpid()).encode())
            writer.close()
        return await asyncio.start_server(answer, sock=listening)

    def accept_no_more(self, doors):
        doors.close()

    async def stop(self, *, handed_over=False):
        pass

if Path("takes-sockets").exists():
    app.realtime = Telling()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "many.py").write_text(APP)
    return tmp_path


def takes(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def who_tells(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        return int(client.recv(64))


def announced(server: Served) -> int:
    found = re.search(r"messages at ws://127\.0\.0\.1:(\d+)/message", server.said)
    return int(found[1]) if found else 0


def test_an_app_that_takes_no_sockets_leaves_the_other_port_alone(place: Path):
    port = free_port()
    with node(place, 2, "--realtime-port", str(port)) as server:
        assert (announced(server), takes(port)) == (0, False)
        # It is free for anybody, such as another node of a little app.
        with socket.create_server(("127.0.0.1", port)):
            before = children(server)
            server.process.send_signal(signal.SIGHUP)
            until(lambda: len(children(server)) == 2 and not {*before} & {*children(server)}, "every worker is new")
        assert get(f"{server.url}/who")["pid"] in children(server)
        assert not takes(port)
        assert server.stop() == 0


def test_a_worker_that_dies_comes_back_without_the_other_port(place: Path):
    port = free_port()
    with node(place, 2, "--realtime-port", str(port)) as server:
        victim = children(server)[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(children(server)) == 2 and not alive(victim), "another has been started")
        until(lambda: {get(f"{server.url}/who")["pid"] for _ in range(20)} == {*children(server)}, "both answer")
        assert not takes(port)
        assert server.stop() == 0


def test_an_app_that_takes_no_sockets_does_not_mind_that_the_other_port_is_taken(place: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with node(place, 2, "--realtime-port", str(port)) as server:
            assert get(f"{server.url}/who")["pid"] in children(server)
            assert announced(server) == 0
            assert server.stop() == 0


def test_an_app_that_takes_sockets_has_the_other_port_at_every_worker(place: Path):
    (place / "takes-sockets").touch()
    with node(place, 2) as server:
        port = announced(server)
        until(lambda: {who_tells(port) for _ in range(20)} == {*children(server)}, "both workers take sockets")
        before = children(server)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(children(server)) == 2 and not {*before} & {*children(server)}, "every worker is new")
        assert {who_tells(port) for _ in range(20)} <= {*children(server)}
        assert server.stop() == 0


def test_an_app_that_takes_sockets_says_that_the_other_port_is_taken(place: Path, tmp_path: Path):
    (place / "takes-sockets").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("many:app", "--data-dir", "data", "--workers", "2", "--realtime-port", str(port))
        with pytest.raises(AssertionError, match="never said") as caught, served(*words, cwd=place, **NO_REDIS):
            raise AssertionError("it serves")
    assert f"realtime_port: {port} cannot be listened on" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_new_code_that_takes_sockets_where_the_old_took_none_needs_a_start_anew(place: Path):
    with node(place, 2) as server:
        before = {*children(server)}
        (place / "takes-sockets").touch()
        server.process.send_signal(signal.SIGHUP)
        server.until("the workers that serve stay")
        assert "start the node anew" in server.said
        assert {*children(server)} == before
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=20) as answer:
            assert answer.status == 200
        assert server.stop() == 0
