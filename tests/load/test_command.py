"""``teahouse load messages`` as a process, against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load.gateways import pretending
from tests.processes import COMMAND, Served, served

DEADLINE_SECONDS = 60


def load(*words: str) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "load", "messages", "--patience", "1", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)


def places(server: Served) -> list[str]:
    realtime = re.search(r"ws://[^/\s]+", server.said)
    assert realtime is not None
    return ["--url", server.url, "--realtime-url", realtime[0]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory: Path = tmp_path_factory.mktemp("load")
    limits = {"TEAHOUSE_MESSAGES__FRAMES_PER_SECOND": "20", "TEAHOUSE_MESSAGES__FRAMES_BURST": "60"}
    words = ["--data-dir", str(directory / "data")]
    with served(*words, cwd=directory, TEAHOUSE_ACCESS_LOG="off", **limits) as running:
        yield running
        assert running.stop() == 0
        assert "Traceback" not in running.said


def test_a_real_server_delivers_everything_and_its_cost_is_told(server: Served):
    pid = str(server.process.pid)
    done = load(*places(server), "--connections", "23", "--room-size", "4", "--rate", "100", "--seconds", "1",
                "--pid", pid, "--json")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["complete"] is True
    assert (report["held"], report["rooms"], report["sent"], report["acknowledged"]) == (23, 6, 100, 100)
    assert report["delivered"] == report["expected"] > 250
    assert report["server"]["cpuSeconds"] > 0
    assert report["server"]["memoryConnected"] > 10 << 20


def test_a_person_reads_a_table(server: Served):
    done = load(*places(server), "--connections", "4", "--room-size", "9", "--rate", "20", "--seconds", "0.5")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("People log in", "Sockets connect", "held to the end", "of 30: 100 %", "each receiver", "p99 ms"):
        assert words in done.stdout
    assert done.stdout.rstrip().endswith("Everybody heard everything, once and in order.")


def test_more_than_a_socket_may_send_is_a_failure_that_names_the_setting(server: Served):
    done = load(*places(server), "--connections", "2", "--rate", "400", "--seconds", "0.6")
    assert done.returncode == 1
    assert "refused: too-many-frames" in done.stdout
    assert done.stdout.rstrip().endswith("messages.frames_per_second.")


def test_a_few_sockets_are_not_told_to_send_more_than_a_server_takes(tmp_path: Path):
    with served("--data-dir", str(tmp_path / "data"), cwd=tmp_path, TEAHOUSE_ACCESS_LOG="off") as server:
        done = load(*places(server), "--connections", "5", "--room-size", "2", "--seconds", "3")
    assert done.returncode == 0, done.stdout
    assert "2 rooms of 2 to 3" in done.stdout


def test_a_terminal_sees_bars_and_then_the_table_alone(server: Served):
    ours, theirs = pty.openpty()
    command = [COMMAND, "load", "messages", *places(server), "--connections", "4", "--rate", "20", "--seconds", "0.5"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "NO_COLOR": ""}
    with subprocess.Popen(command, stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = b"".join(iter(lambda: read_until_hang_up(ours), b"")).decode()
        os.close(ours)
    assert process.returncode == 0
    _, cursor_back, table = shown.rpartition("\x1b[?25h")
    assert cursor_back
    assert "Messages are sent" in shown
    assert "Messages are sent" not in table
    assert "Everybody heard everything" in table


def read_until_hang_up(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # Linux's way of saying that the other side has closed.
        return b""


def test_a_room_larger_than_one_request_may_name_is_filled(server: Served):
    done = load(*places(server), "--connections", "210", "--room-size", "210", "--rate", "4", "--seconds", "0.5",
                "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["delivered"] == 2 * 209


async def test_a_message_that_is_lost_is_exit_status_1():
    async with pretending("loses a message") as fake:
        words = ["--url", fake.url, "--realtime-url", fake.realtime_url, "--connections", "6", "--seconds", "0.1"]
        done = await asyncio.to_thread(load, *words, "--rate", "100")
    assert done.returncode == 1, done.stderr
    assert "Not everything was delivered: 1 deliveries are missing." in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--url", "localhost"], "--url: localhost is not an address such as http://127.0.0.1:8000"),
        (["--url", "http://127.0.0.1:1"], "There is no Teahouse at http://127.0.0.1:1: "),
        (["--realtime-url", "http://127.0.0.1:1"], "is not an address such as ws://127.0.0.1:8001"),
        (["--connections", "1"], "--connections"),
        (["--rate", "0"], "--rate"),
    ],
)
def test_a_slip_of_the_keyboard_is_told(words: list[str], expected: str):
    done = load(*words)
    assert done.returncode == 2
    assert expected in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_server_that_is_killed_in_the_middle_is_told_with_its_sockets(tmp_path: Path):
    with served("--data-dir", str(tmp_path / "data"), cwd=tmp_path, TEAHOUSE_ACCESS_LOG="off") as server:
        words = ["--connections", "6", "--rate", "10", "--seconds", "600", "--pid", str(server.process.pid)]
        command = [COMMAND, "load", "messages", *places(server), *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                while "Sockets connect" not in (line := process.stdout.readline()):
                    assert line, "the load ended too soon"
                server.process.kill()
                server.process.wait()
                told, said = process.communicate(timeout=DEADLINE_SECONDS)
            finally:
                process.kill()
    assert (process.returncode, said) == (1, "")
    assert "lost with 1006" in told
    assert "Not everything was sent" in told


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_load_in_order(server: Served, number: signal.Signals, status: int):
    command = [COMMAND, "load", "messages", *places(server), "--connections", "6", "--rate", "10", "--seconds", "600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            while "Sockets connect" not in (line := process.stdout.readline()):
                assert line, "the load ended too soon"
            process.send_signal(number)
            assert process.wait(DEADLINE_SECONDS) == status
            assert process.stderr is not None
            assert process.stderr.read() == "teahouse: stopped\n"
        finally:
            process.kill()
