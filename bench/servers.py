"""Servers as child processes on one core: start, wait until ready, weigh, stop."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bench.failures import BenchFailed
from bench.machine import pinned

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to start a server."""

    name: str
    command: Sequence[str]
    port: int
    ready_path: str
    output: Path
    """File that receives standard output and error."""
    log: Path | None = None
    """The access log, when the server writes one."""
    environment: Mapping[str, str] | None = None


class Processes:
    """A running program and its children: what they weigh."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def cpu_seconds(self) -> float:
        """User and system time so far, children included."""
        return sum(_ticks(pid) for pid in self._tree()) / TICKS_PER_SECOND

    def resident_bytes(self) -> int:
        """Resident memory now, children included."""
        return sum(_resident_pages(pid) for pid in self._tree()) * PAGE_BYTES

    def _tree(self) -> list[int]:
        pids = [self.process.pid]
        for pid in pids:  # grows while it is read: children follow their parents
            pids.extend(_children(pid))
        return pids


class Server(Processes):
    """A running server and its process tree."""

    def __init__(self, plan: Plan, process: subprocess.Popen[bytes]) -> None:
        super().__init__(process)
        self.plan = plan
        self.url = f"http://127.0.0.1:{plan.port}"


@contextmanager
def started(plan: Plan, *, core: int, patience: float = 20.0, pause: float = 0.01) -> Iterator[Server]:
    """Starts the server on its core, yields it once it is ready, and stops it with SIGTERM.

    Raises BenchFailed when it is not ready within ``patience`` seconds or does not stop cleanly.
    """
    with plan.output.open("ab") as output:
        process = subprocess.Popen(
            pinned(core, plan.command),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(plan.environment or {})},
        )
    server = Server(plan, process)
    try:
        wait_until_ready(server, patience=patience, pause=pause)
        yield server
    finally:
        _stop(server)


def wait_until_ready(server: Server, *, patience: float, pause: float) -> None:
    """Asks the ready path every ``pause`` seconds until it answers 200."""
    plan = server.plan

    def ready() -> bool:
        if server.process.poll() is not None:
            raise BenchFailed(f"{plan.name} ended at once:\n{tail(plan.output)}")
        return answers(plan.port, plan.ready_path)

    if not wait_for(ready, patience=patience, pause=pause):
        raise BenchFailed(f"{plan.name} was not ready in {patience} s:\n{tail(plan.output)}")


def wait_for(condition: Callable[[], bool], *, patience: float, pause: float = 0.02) -> bool:
    """Asks until the condition holds; false when ``patience`` seconds have passed."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def answers(port: int, path: str) -> bool:
    """Whether a GET of the path is a 200 now."""
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def file_name(name: str) -> str:
    """A server's name as the beginning of a file's name: ``gin.Default()`` is ``gin-default``."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tail(file: Path, lines: int = 15) -> str:
    """The last lines of a file, for a message."""
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:]) if file.exists() else ""


def _stop(server: Server) -> None:
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()
        raise BenchFailed(f"{server.plan.name} did not stop in 15 s") from None


def _stat(pid: int) -> list[str]:
    # The name in parentheses may hold spaces: what follows it is regular.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _ticks(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12])


def _resident_pages(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
