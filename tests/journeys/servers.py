"""``teahouse serve`` as a child process with a data directory and logs of its own, for as long as a test needs it."""

from __future__ import annotations

import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.processes import COMMAND

DEADLINE_SECONDS = 60.0
_GREETING = re.compile(r"serves (http://\S+)")
_MESSAGES = re.compile(r"messages at ws://\S+:(\d+)/message")
_PAUSE_SECONDS = 0.01


class Running:
    """A server that is ready. ``url`` has no slash at its end; its files are in ``directory`` and ``data`` below it."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path, said_before: int) -> None:
        self.process = process
        self.directory = directory
        self.data = directory / "data"
        self.url = ""
        self._said_before = said_before

    @property
    def said(self) -> str:
        """What this process wrote to its standard error so far."""
        return (self.directory / "stderr.log").read_bytes()[self._said_before :].decode()

    @property
    def realtime_port(self) -> int:
        """Where sockets are taken."""
        greeting = _MESSAGES.search(self.said)
        assert greeting is not None, self.said
        return int(greeting[1])

    @property
    def access_log(self) -> str:
        """Every line of the access log, those of servers before this one in the directory too."""
        return (self.directory / "access.log").read_text()

    @property
    def resident_bytes(self) -> int:
        """What the process holds in memory now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self.process.wait(DEADLINE_SECONDS)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self.process.kill()
        self.process.wait(DEADLINE_SECONDS)


def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """The condition's first true value; fails when the deadline passes first."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"in {seconds:g} seconds it never came about that {what}"
        time.sleep(_PAUSE_SECONDS)


def surroundings(*, measured: bool = False, **settings: str) -> dict[str, str]:
    """This process's environment without its own settings; a measured process is not traced for coverage."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TEAHOUSE_")}
    if measured:
        kept = {name: value for name, value in kept.items() if not name.startswith("COVERAGE")}
    return {**kept, **settings}


def teahouse(*words: str, cwd: Path, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a command until it ends."""
    return subprocess.run(
        [COMMAND, *words],
        cwd=cwd,
        env=surroundings(**settings),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def is_ready(url: str) -> bool:
    """Whether ``/readyz`` answers 200 now."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def running(directory: Path, *words: str, measured: bool = False, **settings: str) -> Iterator[Running]:
    """A server on free ports, from ready to its end.

    A test that leaves it running sees it stop as its operator would: exit status 0, and no trace of a mistake.
    """
    settings.setdefault("TEAHOUSE_ACCESS_LOG", "access.log")
    log = directory / "stderr.log"
    command = [COMMAND, "serve", "--port", "0", "--realtime-port", "0", "--data-dir", "data", *words]
    with log.open("ab") as stderr:
        before = log.stat().st_size
        process = subprocess.Popen(
            command, cwd=directory, env=surroundings(measured=measured, **settings), stdout=stderr, stderr=stderr
        )
    server = Running(process, directory, before)
    try:
        server.url = until(lambda: _url(server), "the server is ready")
        yield server
        if process.poll() is None:
            assert server.stop() == 0, server.said
        assert "Traceback" not in server.said, server.said
    finally:
        if process.poll() is None:
            server.kill()


def _url(server: Running) -> str | None:
    said = server.said
    assert server.process.poll() is None, said
    greeting = _GREETING.search(said)
    return greeting[1] if greeting and is_ready(greeting[1]) else None
