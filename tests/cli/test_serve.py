"""``teahouse serve`` as its operator sees it: a process with ports, files, signals and an exit status."""

from __future__ import annotations

import json
import resource
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from tests.processes import served

APP = """
import asyncio
from teahouse.web import App

app = App(title="Small")
not_an_app = 7

@app.get("/hello/{name}")
def hello(name: str) -> dict[str, str]:
    return {"hello": name}

@app.get("/slow")
async def slow() -> dict[str, str]:
    print("begun", file=__import__("sys").stderr, flush=True)
    await asyncio.sleep(0.3)
    return {"slow": "but done"}

@app.get("/never")
async def never() -> None:
    print("begun", file=__import__("sys").stderr, flush=True)
    await asyncio.Event().wait()
"""


@pytest.fixture
def small(place: Path) -> Path:
    (place / "small.py").write_text(APP)
    return place


def get(url: str) -> object:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


def test_an_app_from_the_working_directory_is_served_until_sigterm(small: Path):
    with served("small:app", cwd=small) as server:
        assert get(f"{server.url}/hello/tea") == {"hello": "tea"}
        assert get(f"{server.url}/readyz") == {"status": "ready"}
        assert server.stop() == 0


def test_ctrl_c_ends_in_order_too(small: Path):
    with served("small:app", cwd=small) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.wait() == 0
        assert "Traceback" not in server.said


def test_what_was_asked_before_sigterm_is_answered(small: Path):
    answers: list[object] = []
    with served("small:app", cwd=small) as server:
        asking = threading.Thread(target=lambda: answers.append(get(f"{server.url}/slow")))
        asking.start()
        server.until("begun")
        assert server.stop() == 0
        asking.join(20)
    assert answers == [{"slow": "but done"}]


def test_a_second_signal_ends_it_at_once(small: Path):
    with served("small:app", cwd=small) as server, socket.create_connection(_address(server.url)) as client:
        client.sendall(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
        server.until("begun")
        server.process.terminate()
        _wait_until_nobody_listens(server.url)
        server.process.terminate()
        assert server.wait() == 130


def _wait_until_nobody_listens(url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(_address(url)).close()
        except OSError:
            return
    raise AssertionError(f"{url} still listens")


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


def test_a_small_app_makes_no_data_directory(small: Path):
    with served("small:app", cwd=small) as server:
        server.stop()
    assert [path.name for path in small.iterdir() if path.suffix != ".py" and path.name != "__pycache__"] == []


def test_the_access_log_goes_to_the_file_that_was_named_and_appends(small: Path):
    for _ in range(2):
        with served("small:app", cwd=small, TEAHOUSE_ACCESS_LOG="access.log") as server:
            get(f"{server.url}/hello/tea")
            assert server.stop() == 0
            assert "/hello/tea" not in server.said
    lines = [json.loads(line) for line in (small / "access.log").read_text().splitlines()]
    assert [line["path"] for line in lines] == ["/hello/tea", "/hello/tea"]


def test_the_access_log_can_be_switched_off(small: Path):
    with served("small:app", cwd=small, TEAHOUSE_ACCESS_LOG="off") as server:
        get(f"{server.url}/hello/tea")
        server.stop()
        assert "/hello/tea" not in server.said


def test_limits_of_the_settings_reach_the_server(small: Path):
    with served("small:app", cwd=small, TEAHOUSE_HTTP__HEAD_BYTES="1024") as server:
        with pytest.raises(urllib.request.HTTPError) as caught:
            get(f"{server.url}/hello/{'x' * 2000}")
        with caught.value as answer:
            assert answer.status in (414, 431)


def test_a_port_in_use_is_told_with_a_way_out(small: Path, spawn):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = spawn("serve", "small:app", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_host_that_is_not_here_is_told(small: Path, spawn):
    done = spawn("serve", "small:app", "--host", "192.0.2.1", "--port", "0")
    assert done.returncode == 2
    assert "192.0.2.1" in done.stderr


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("small", "is not MODULE:APP"),
        (":app", "is not MODULE:APP"),
        ("small:ap", "Did you mean small:app?"),
        ("small:not_an_app", "is int, not an App"),
        ("smal:app", "There is no module smal in"),
        ("package.that.is.not:app", "There is no module package.that.is.not in"),
    ],
)
def test_a_target_that_is_not_there_is_a_usage_error(small: Path, run, monkeypatch, target: str, expected: str):
    monkeypatch.syspath_prepend(str(small))
    result = run("openapi", target)
    assert result.exit_code == 2
    assert expected in " ".join(result.stderr.split())


def test_an_app_that_fails_to_import_shows_its_own_traceback(small: Path, spawn):
    (small / "broken.py").write_text("import a_library_that_is_not_there\n")
    done = spawn("serve", "broken:app")
    assert done.returncode == 1
    assert "a_library_that_is_not_there" in done.stderr
    assert "broken.py" in done.stderr


def test_an_access_log_that_cannot_be_written_is_told(small: Path, spawn):
    done = spawn("serve", "small:app", TEAHOUSE_ACCESS_LOG="no/such/folder/access.log")
    assert done.returncode == 2
    assert "access_log" in done.stderr


def test_more_workers_without_redis_are_refused(small: Path, spawn):
    done = spawn("serve", "small:app", "--workers", "2")
    assert done.returncode == 2
    assert "TEAHOUSE_REDIS__URL" in done.stderr


def test_there_are_open_files_for_requests_and_for_sockets(place: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    settings = {"TEAHOUSE_HTTP__CONNECTIONS": "100", "TEAHOUSE_MESSAGES__CONNECTIONS": "900"}
    # What a child begins with.
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with served("--data-dir", "data", cwd=place, **settings) as server:
            found, _ = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
            assert server.stop() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found >= 1000
