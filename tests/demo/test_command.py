"""``teahouse demo`` as a process: what it prints, how it exits, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from teahouse import datadir
from tests.demo.lying_shop import PASSWORD, LyingShop, serving
from tests.processes import COMMAND, served

DEADLINE_SECONDS = 60


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("TEAHOUSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def demo(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "demo", *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)


@contextmanager
def under_way(directory: Path, phase: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A demo after that phase of its day, and the process id of its server."""
    command = [COMMAND, "demo", "--buyers", "20", "--stock", "5", "--data-dir", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            while phase not in (line := process.stdout.readline()):
                assert line, "the demo ended too soon"
            yield process, int((directory / datadir.LOCK_FILE).read_text())
        finally:
            process.kill()


def test_a_whole_day_on_a_server_of_its_own(clean: Path):
    done = demo("--buyers", "30", "--stock", "8", "--json", "--svg", "day.svg")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["kept"] is True
    assert (report["sold"], report["remaining"], report["difference"]) == (8, 0, 0)
    assert report["expired"] + report["cancelled"] == report["resold"] == 3
    assert all(doubles["pairs"] == doubles["alike"] for doubles in report["doubles"])
    room = report["room"]
    assert (room["sockets"], room["lost"], room["inSequence"]) == (30, {}, True)
    assert room["sent"] == room["acknowledged"] > 30
    assert room["delivered"] == room["expected"] > 900
    assert (report["resultsByPush"], report["resultsByAsking"]) == (11, 0)
    assert [path.name for path in clean.iterdir()] == ["day.svg"]


def test_a_day_on_a_running_server_whose_data_directory_is_named(clean: Path):
    with served("--data-dir", str(clean / "data"), cwd=clean, TEAHOUSE_ACCESS_LOG="off") as server:
        done = demo("--buyers", "2", "--stock", "1", "--url", server.url, "--data-dir", str(clean / "data"))
        assert done.returncode == 0, done.stderr
        assert "Every promise was kept. Difference 0." in done.stdout
        assert "The sale starts" in done.stdout
        assert "--realtime-url names the place" in " ".join(done.stdout.split())
        realtime = re.search(r"ws://[^/\s]+", server.said)
        assert realtime is not None
        words = ["--url", server.url, "--realtime-url", realtime[0], "--data-dir", str(clean / "data")]
        done = demo("--buyers", "2", "--stock", "1", *words)
        assert done.returncode == 0, done.stderr
        assert "of 2 buyers, held to the end" in done.stdout
        assert server.stop() == 0
        assert "Traceback" not in server.said


@pytest.mark.parametrize("no_colour", ["", "1"])
def test_a_terminal_sees_the_day_as_it_goes_and_then_the_table_alone(clean: Path, no_colour: str):
    ours, theirs = pty.openpty()
    command = [COMMAND, "demo", "--buyers", "1", "--stock", "1"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": no_colour}
    with subprocess.Popen(command, stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = b"".join(iter(lambda: read_until_hang_up(ours), b"")).decode()
        os.close(ours)
    assert process.returncode == 0
    _, cursor_back, table = shown.rpartition("\x1b[?25h")
    assert cursor_back
    assert "Buyers log in" in shown
    assert "Buyers log in" not in table
    assert "Every promise was kept. Difference 0." in table
    assert ("\x1b[1;32m" in table or "\x1b[32m" in table) != bool(no_colour)


def read_until_hang_up(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # Linux's way of saying that the other side has closed.
        return b""


def test_another_data_directory_than_the_servers_is_told(clean: Path):
    with served("--data-dir", str(clean / "data"), cwd=clean, TEAHOUSE_ACCESS_LOG="off") as server:
        nowhere = demo("--url", server.url)
        subprocess.run([COMMAND, "migrate", "--data-dir", "other"], check=True, capture_output=True)
        other = demo("--url", server.url, "--data-dir", "other")
    assert nowhere.returncode == other.returncode == 2
    assert "There is no database in teahouse-data; --data-dir names" in nowhere.stderr
    assert f"The server at {server.url} does not use the database in other. Pass its --data-dir" in other.stderr
    assert not (clean / "teahouse-data").exists()


@pytest.mark.parametrize(("lie", "status"), [("", 0), ("gives-the-wrong-reason", 1)])
async def test_a_broken_promise_is_exit_status_1_and_is_named(clean: Path, lie: str, status: int):
    async with serving(LyingShop(lie)) as url:
        words = ["--buyers", "2", "--stock", "1", "--url", url, "--admin", "operator"]
        done = await asyncio.to_thread(demo, *words, stdin=PASSWORD + "\n")
    assert done.returncode == status, done.stderr
    assert ("BROKEN  Every refusal says the right reason" in done.stdout) == bool(lie)
    assert PASSWORD not in done.stdout + done.stderr


def test_where_no_server_is_the_day_cannot_be_played(clean: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = demo("--url", f"http://127.0.0.1:{port}")
    assert done.returncode == 2
    assert f"There is no Teahouse at http://127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--buyers", "0"], "--buyers"),
        (["--stock", "many"], "--stock"),
        (["--admin", "x"], "--url"),
        (["--realtime-url", "ws://x"], "--url"),
        (
            ["--url", "http://127.0.0.1:1", "--realtime-url", "http://x", "--admin", "x"],
            "--realtime-url: http://x is not",
        ),
        (["--url", "localhost:8000", "--admin", "x"], "is not an address such as http://127.0.0.1:8000"),
    ],
)
def test_a_slip_of_the_keyboard_is_told(clean: Path, words: list[str], expected: str):
    done = demo(*words, stdin="y")
    assert done.returncode == 2
    assert expected in " ".join(done.stderr.split())


def test_a_server_that_does_not_start_is_told_with_its_last_words(clean: Path):
    data = clean / "data"
    data.mkdir()
    (data / "teahouse.db").write_bytes(b"this is no database, " * 1000)
    done = demo("--data-dir", str(data))
    assert done.returncode == 2
    assert "The server did not start" in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_demo_and_its_server(clean: Path, number: signal.Signals, status: int):
    with under_way(clean / "data", "Buyers log in") as (process, server):
        process.send_signal(number)
        _, said = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == status
        assert said == "teahouse: stopped\n"
        assert not alive(server)


def test_a_server_that_is_killed_in_the_middle_is_a_broken_promise(clean: Path):
    with under_way(clean / "data", "The sale starts") as (process, server):
        os.kill(server, signal.SIGKILL)
        table, said = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 1, said
        assert "the server ended with -9" in " ".join(table.split())


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
