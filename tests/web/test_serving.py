"""A server as a process: signals, descriptors, and what it costs to hold many connections."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.web.wire import get, request

ROOT = Path(__file__).parents[2]
DEADLINE = 20.0


class Child:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def ask(self, raw: bytes) -> bytes:
        with self.connect() as wire:
            wire.sendall(raw)
            return wire.recv(65536)

    def resident_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> tuple[int, str, str]:
        """SIGTERM; the exit status, what is left of standard output, and standard error."""
        self.process.send_signal(signal.SIGTERM)
        out, said = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, out.decode(), said.decode()


@contextmanager
def child(shutdown_seconds: float = 5.0, *, descriptors: tuple[int, ...] = ()) -> Iterator[Child]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.web.served_app", str(shutdown_seconds), *map(str, descriptors)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            yield Child(process, int(process.stdout.readline()))
        finally:
            process.kill()


def until(condition, seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def test_sigterm_answers_what_was_asked_finishes_the_work_and_exits_0():
    with child() as server:
        slow = server.connect()
        slow.sendall(get("/slow/0.5"))
        assert server.process.stderr.readline() == b"slow begun\n"
        assert server.ask(request("POST", "/jobs/0.7", body=b"")).startswith(b"HTTP/1.1 202 ")
        code, out, said = server.stop()
        answer = slow.recv(65536)
        slow.close()
    assert code == 0
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close\r\n" in answer
    assert said.splitlines() == ["work finished", "stop hook"]
    assert [json.loads(line)["route"] for line in out.splitlines()] == ["/jobs/{seconds}", "/slow/{seconds}"]


def test_work_that_outlasts_the_grace_is_handed_back_before_the_stop_hooks():
    with child(0.3) as server:
        assert server.ask(request("POST", "/jobs/60", body=b"")).startswith(b"HTTP/1.1 202 ")
        code, _out, said = server.stop()
    assert code == 0
    assert said.splitlines() == ["work handed back", "stop hook"]


def test_a_second_signal_ends_the_process_at_once():
    with child(60) as server:
        wire = server.connect()
        wire.sendall(get("/slow/60"))
        assert server.process.stderr.readline() == b"slow begun\n"
        server.process.send_signal(signal.SIGINT)
        until(lambda: _refused(server.port))
        began = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(DEADLINE) == 130
        assert time.monotonic() - began < 5
        wire.close()


def test_a_log_that_nobody_reads_does_not_keep_the_process_from_ending():
    with child(1) as server:
        with server.connect() as wire:
            for _ in range(60):
                # Standard output is a pipe of 64 KiB that this test does not read.
                wire.sendall(get("/ping") * 50)
                answers = b""
                while answers.count(b"pong") < 50:
                    answers += wire.recv(65536)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE) == 0


def test_more_connections_than_the_shells_usual_limit_are_answered():
    with child(descriptors=(128,)) as server, ExitStack() as wires:
        for _ in range(300):
            wire = wires.enter_context(server.connect())
            wire.sendall(get("/ping"))
            assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_thousands_of_idle_connections_cost_little_memory_and_time():
    count = 2500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + 500)), hard))
    try:
        with child() as server, ExitStack() as wires:
            server.ask(get("/ping"))
            before = server.resident_kib()
            for _ in range(count):
                wire = wires.enter_context(server.connect())
                wire.sendall(get("/ping"))
                assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
            each = (server.resident_kib() - before) / count
            assert each < 16, f"{each:.1f} KiB for each idle connection"
            began, cpu = time.monotonic(), server.cpu_seconds()
            until(lambda: time.monotonic() - began > 2)
            share = (server.cpu_seconds() - cpu) / (time.monotonic() - began)
            print(f"{each:.1f} KiB and {share:.1%} of a core for {count} idle connections")
            assert share < 0.25
            assert server.stop()[0] == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_flood_of_distinct_addresses_ids_and_methods_leaves_no_memory_behind():
    def flood(start: int, count: int) -> None:
        with server.connect() as wire:
            reading = wire.makefile("rb")
            for first in range(start, start + count, 50):
                raw = b"".join(
                    request(
                        ("GET", "PROPFIND", "LINK", "GET")[number % 4],
                        f"/nowhere/{number}/{'x' * (number % 90)}",
                        f"X-Request-Id: hostile-{number}",
                        f"X-Header-{number}: v",
                        f"Origin: https://{number}.example",
                    )
                    for number in range(first, first + 50)
                )
                wire.sendall(raw)
                for _ in range(50):
                    _read_answer(reading)

    with child() as server:
        # The access log is this process's standard output; nobody may be held up by it.
        os.set_blocking(server.process.stdout.fileno(), False)
        flood(0, 20_000)
        server.process.stdout.read()
        before = server.resident_kib()
        for start in range(20_000, 120_000, 10_000):
            flood(start, 10_000)
            server.process.stdout.read()
        growth = server.resident_kib() - before
        assert growth < 12_000, f"{growth} KiB more"
        assert server.ask(get("/ping")).startswith(b"HTTP/1.1 200 ")


def _read_answer(reading) -> None:
    length = 0
    assert reading.readline().startswith(b"HTTP/1.1 404 ")
    while (line := reading.readline()) != b"\r\n":
        if line.startswith(b"content-length: "):
            length = int(line[16:])
    reading.read(length)


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False
