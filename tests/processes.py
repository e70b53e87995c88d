"""Real servers as child processes, for tests that must see signals, sockets and files."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMAND = Path(sys.executable).with_name("teahouse")
DEADLINE_SECONDS = 30.0
_GREETING = re.compile(r"serves (http://\S+)")


class Served:
    """A running ``teahouse serve``. ``url`` has no slash at its end; ``said`` is its standard error so far."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.said = ""
        self.url = ""

    def until(self, wanted: str) -> str:
        """Reads standard error until it holds that text; fails when the server ends or the deadline passes first."""
        assert self.process.stderr is not None
        deadline = time.monotonic() + DEADLINE_SECONDS
        while wanted not in self.said:
            ready, _, _ = select.select([self.process.stderr], [], [], max(deadline - time.monotonic(), 0))
            chunk = os.read(self.process.stderr.fileno(), 65536) if ready else b""
            if not chunk:
                raise AssertionError(f"{wanted!r} was never said: {self.said}")
            self.said += chunk.decode()
        return self.said

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self.wait()

    def wait(self) -> int:
        """The exit status, once the process has ended by itself."""
        assert self.process.stderr is not None
        self.said += self.process.stderr.read().decode()
        return self.process.wait(DEADLINE_SECONDS)


@contextmanager
def served(*words: str, cwd: Path, **environment: str) -> Iterator[Served]:
    """``teahouse serve`` on free ports, ready; killed at the end where the test has not stopped it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TEAHOUSE_")}
    command = [COMMAND, "serve", "--port", "0", "--realtime-port", "0", *words]
    with subprocess.Popen(command, cwd=cwd, env={**clean, **environment}, stderr=subprocess.PIPE) as process:
        server = Served(process)
        try:
            greeting = _GREETING.search(server.until("Ctrl-C stops it"))
            assert greeting is not None
            server.url = greeting[1]
            yield server
        finally:
            process.kill()
