"""A node with several workers: one port, one greeting, and no end that a caller would notice."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.processes import Served, served
from tests.web.callers import DEADLINE_SECONDS, calling, content, until

APP = """
import asyncio, os
from pathlib import Path
from teahouse.web import App

app = App(title="Many")

@app.get("/user/{id}")
def user(id: str) -> dict[str, str]:
    return {"id": id}

@app.get("/who")
def who() -> dict[str, int]:
    return {"pid": os.getpid()}

@app.get("/slow/{seconds}")
async def slow(seconds: float) -> dict[str, str]:
    Path("slow").touch()
    await asyncio.sleep(seconds)
    return {"slow": "but done"}

@app.on_start
async def start() -> None:
    with Path("starts").open("a") as starts:
        starts.write("x")
    if Path("broken").exists():
        raise RuntimeError("no tea today")
    while Path("hold").exists():
        await asyncio.sleep(0.01)
"""
# It is the apps' business to connect to it, and this one does not.
NO_REDIS = {"TEAHOUSE_REDIS__URL": "redis://127.0.0.1:1"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "many.py").write_text(APP)
    return tmp_path


@contextmanager
def node(place: Path, workers: int = 2, *words: str, **settings: str) -> Iterator[Served]:
    environment = {"TEAHOUSE_ACCESS_LOG": "off", **NO_REDIS, **settings}
    with served(
        "many:app", "--data-dir", "data", "--workers", str(workers), *words, cwd=place, **environment
    ) as server:
        mine = children(server)
        try:
            yield server
        finally:
            server.process.kill()
            until(lambda: not any(map(alive, {*mine, *children(server)})), "the workers end with their supervisor")


def children(server: Served) -> list[int]:
    task = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    try:
        return [int(pid) for pid in task.read_text().split()]
    except FileNotFoundError:
        return []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def get(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as answer:
        return json.load(answer)


def answering(server: Served, times: int = 60) -> set[int]:
    """Who answers new connections."""
    return {get(f"{server.url}/who")["pid"] for _ in range(times)}


def test_the_workers_share_a_port_and_the_node_greets_once(place: Path):
    with node(place, 3) as server:
        assert answering(server) == set(children(server))
        assert len(children(server)) == 3
        assert server.stop() == 0
        assert server.said.count("Many serves http://127.0.0.1:") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_was_asked_and_exits_0(place: Path, number: signal.Signals):
    answers: list[object] = []
    with node(place) as server:
        workers = children(server)
        asking = threading.Thread(target=lambda: answers.append(get(f"{server.url}/slow/0.5")))
        asking.start()
        until((place / "slow").exists, "the request is under way")
        server.process.send_signal(number)
        assert server.wait() == 0
        asking.join(DEADLINE_SECONDS)
        assert "ended with status" not in server.said
    assert answers == [{"slow": "but done"}]
    assert not any(map(alive, workers))


def test_a_signal_to_every_process_as_systemd_sends_it_is_one_stop_in_order(place: Path):
    answers: list[object] = []
    with node(place) as server:
        asking = threading.Thread(target=lambda: answers.append(get(f"{server.url}/slow/1")))
        asking.start()
        until((place / "slow").exists, "the request is under way")
        for pid in (*children(server), server.process.pid, *children(server)):
            os.kill(pid, signal.SIGTERM)
        assert server.wait() == 0
        asking.join(DEADLINE_SECONDS)
        assert "ended with status" not in server.said
    assert answers == [{"slow": "but done"}]


@pytest.mark.parametrize("_round", range(3))
def test_no_connection_that_was_had_is_lost_by_a_stop_of_many_workers(place: Path, _round: int):
    with node(place, 3) as server:
        callers = calling(server.url)
        until(lambda: all(caller.answered > 20 for caller in callers), "every caller is at work")
        assert server.stop() == 0
        until(lambda: all(caller.refused_at for caller in callers), "every caller is refused")
        content(callers)


def test_while_the_last_requests_are_answered_nobody_waits_for_a_connection(place: Path):
    with node(place) as server, connected(server) as wire:
        wire.sendall(b"GET /slow/4 HTTP/1.1\r\nHost: x\r\n\r\n")
        until((place / "slow").exists, "the request is under way")
        server.process.terminate()
        until(lambda: is_refused(server), "the next one is refused")
        assert server.process.poll() is None
        assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert server.wait() == 0


def connected(server: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=DEADLINE_SECONDS)


def is_refused(server: Served) -> bool:
    try:
        connected(server).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_second_signal_ends_all_of_it_at_once(place: Path):
    with node(place, TEAHOUSE_DRAIN_SECONDS="60") as server:
        workers = children(server)
        server.process.terminate()
        until(lambda: not is_ready(server), "the stop has begun")
        began = time.monotonic()
        server.process.terminate()
        assert server.wait() == 130
        until(lambda: not any(map(alive, workers)), "the workers are gone")
        assert time.monotonic() - began < 5


def is_ready(server: Served) -> bool:
    try:
        return get(f"{server.url}/readyz") == {"status": "ready"}
    except urllib.error.HTTPError as error:
        error.close()
        return False


def test_a_hangup_replaces_every_worker_and_no_request_fails(place: Path):
    with node(place, 3) as server:
        before = set(children(server))
        callers = calling(server.url)
        until(lambda: all(caller.answered > 20 for caller in callers), "every caller is at work")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(children(server)) == 3 and not before & set(children(server)), "all workers are new")
        so_far = [caller.answered for caller in callers]
        until(
            lambda: all(caller.answered > count + 20 for caller, count in zip(callers, so_far, strict=True)),
            "all go on",
        )
        assert answering(server) == set(children(server))
        content(callers)
        assert server.stop() == 0
        assert "ended with status" not in server.said


def test_who_keeps_a_connection_and_asks_now_and_then_is_answered_by_the_worker_that_leaves(place: Path):
    with node(place, TEAHOUSE_DRAIN_SECONDS="10") as server:
        before = set(children(server))
        until(lambda: answering(server) == before, "both serve")
        with ExitStack() as wires:
            keeping = [wires.enter_context(connected(server)) for _ in range(20)]
            assert {ask_who(wire) for wire in keeping} == before
            server.process.send_signal(signal.SIGHUP)
            until(lambda: answering(server) - before, "a new worker serves")
            since = time.monotonic()
            until(lambda: time.monotonic() > since + 1.5, "some time passes")
            assert {ask_who(wire) for wire in keeping} == before
        until(lambda: not before & set(children(server)), "all workers are new")


def ask_who(wire: socket.socket) -> int:
    wire.sendall(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
    return json.loads(wire.recv(65536).rpartition(b"\r\n")[2])["pid"]


def test_a_replacement_that_does_not_start_leaves_the_workers_that_serve(place: Path):
    with node(place) as server:
        before = set(children(server))
        (place / "broken").touch()
        server.process.send_signal(signal.SIGHUP)
        server.until("the workers that serve stay")
        assert "no tea today" in server.said
        assert set(children(server)) == before == answering(server)
        (place / "broken").unlink()
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(children(server)) == 2 and not before & set(children(server)), "all workers are new")
        assert server.stop() == 0


def test_while_a_killed_worker_is_away_another_answers_for_it(place: Path):
    with node(place) as server:
        (place / "hold").touch()
        victim, other = children(server)
        os.kill(victim, signal.SIGKILL)
        server.until(f"(process {victim}) ended with status -9")
        assert answering(server) == {other}
        (place / "hold").unlink()
        until(lambda: len(answering(server)) == 2, "the killed worker is back")
        assert server.stop() == 0


def test_workers_end_with_their_supervisor(place: Path):
    with node(place) as server:
        workers = children(server)
        server.process.kill()
        until(lambda: not any(map(alive, workers)), "the workers end")


def test_a_worker_that_dies_at_each_start_ends_the_node_with_its_message(place: Path):
    (place / "broken").touch()
    began = time.monotonic()
    with pytest.raises(AssertionError, match="no tea today"), node(place):
        pass
    assert time.monotonic() - began < 20
    assert (place / "starts").read_text() == "xxx"


def test_what_is_wrong_with_the_settings_is_said_once(place: Path):
    with (
        pytest.raises(AssertionError) as caught,
        served("--data-dir", "data", "--workers", "3", "--host", "0.0.0.0", cwd=place, **NO_REDIS),
    ):
        pass
    assert str(caught.value).count("TEAHOUSE_WECHAT__APPID") == 1


def test_a_port_that_another_node_of_the_same_user_has_is_taken(place: Path):
    with node(place) as server:
        port = server.url.rpartition(":")[2]
        with (
            pytest.raises(AssertionError, match=f"{port} cannot be listened on"),
            served("many:app", "--data-dir", "other", "--workers", "2", "--port", port, cwd=place, **NO_REDIS),
        ):
            pass


def test_a_data_directory_belongs_to_one_node(place: Path):
    with node(place) as server:
        with (
            pytest.raises(AssertionError, match=rf"in use by another Teahouse \(process {server.process.pid}\)"),
            node(place),
        ):
            pass
        assert is_ready(server)


def test_a_name_with_two_addresses_is_served_on_both(place: Path):
    with node(place, 2, "--host", "localhost") as server:
        port = int(server.url.rpartition(":")[2])
        for family, *_, address in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM):
            with socket.socket(family) as wire:
                wire.settimeout(DEADLINE_SECONDS)
                wire.connect(address)
                wire.sendall(b"GET /user/7 HTTP/1.1\r\nHost: x\r\n\r\n")
                assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert server.stop() == 0


def test_an_access_log_file_that_several_workers_write_has_whole_lines(place: Path):
    with node(place, 3, TEAHOUSE_ACCESS_LOG="access.log") as server:
        callers = calling(server.url)
        until(lambda: sum(caller.answered for caller in callers) > 3000, "there is something in the log")
        answered = content(callers)
        assert server.stop() == 0
    lines = [json.loads(line) for line in (place / "access.log").read_text().splitlines()]
    assert len({line["requestId"] for line in lines}) == len(lines) == answered


def test_a_scrape_of_any_worker_gives_those_of_all(place: Path):
    with node(place, 3) as server:
        assert answering(server) == set(children(server))
        text = scrape(server)
        assert {"0", "1", "2"} == set(
            re.findall(r'^process_resident_memory_bytes\{worker="(\d+)"\}', text, re.MULTILINE)
        )
        counts = re.findall(
            r'^teahouse_http_requests_total\{.*route="/who".*worker="\d".*\} (\S+)$', text, re.MULTILINE
        )
        assert sum(map(float, counts)) == 60
        types = re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)
        assert len(types) == len(set(types))
        folder = place / "data" / "workers"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_worker_that_stands_still_is_left_out_of_a_scrape_soon(place: Path):
    with node(place, 2) as server:
        with connected(server) as wire:
            [other] = set(children(server)) - {ask_who(wire)}
            os.kill(other, signal.SIGSTOP)
            try:
                began = time.monotonic()
                wire.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
                assert time.monotonic() - began < 5
            finally:
                os.kill(other, signal.SIGCONT)
        until(lambda: set(re.findall(r'worker="(\d)"', scrape(server))) == {"0", "1"}, "it is back in the scrape")
        assert server.stop() == 0


def scrape(server: Served) -> str:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=DEADLINE_SECONDS) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return answer.read().decode()


def test_one_worker_has_no_label_and_no_folder(place: Path):
    with node(place, 1) as server:
        assert "worker=" not in scrape(server)
        assert not (place / "data").exists()
        assert children(server) == []
        assert server.stop() == 0
