"""A server of the demo's own: a child process on a free port, stopped by its pid."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from teahouse.demo.operator import DemoFailed

_START = "import sys; from teahouse.cli import main; sys.exit(main(prog_name='teahouse'))"
_GREETING = re.compile(rb" serves (http://\S+)(?:.* messages at (ws://\S+)/message)?")
_READY_WITHIN_SECONDS = 30.0
_STOPS_WITHIN_SECONDS = 40.0
_LAST_LINES = 20


class OwnServer:
    """A running ``teahouse serve``. ``realtime_url`` is where its sockets are, empty where it did not say.

    ``status`` is its exit status once it has ended, None before.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.url = self.realtime_url = ""
        self.status: int | None = None
        self._process = process
        self._last_lines: deque[bytes] = deque(maxlen=_LAST_LINES)
        self._reading: asyncio.Task[None] | None = None

    @property
    def last_words(self) -> str:
        """The last lines of its log."""
        return b"".join(self._last_lines).decode(errors="replace").strip()

    async def ready(self, *, within: float = _READY_WITHIN_SECONDS) -> None:
        """Returns when it says where it serves; raises ``DemoFailed`` where it does not within those seconds."""
        try:
            async with asyncio.timeout(within):
                self.url, self.realtime_url = await self._greeting()
        except TimeoutError:
            raise DemoFailed(f"The server was not ready within {within:g} s.") from None
        # A pipe that nobody reads would fill.
        self._reading = asyncio.create_task(self._read_on())

    async def stop(self, *, within: float = _STOPS_WITHIN_SECONDS) -> None:
        """SIGTERM, then its exit status; SIGKILL where it does not end within those seconds."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within):
                self.status = await self._process.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            self.status = await self._process.wait()
        if self._reading is not None:
            await self._reading

    def _signal(self, number: signal.Signals) -> None:
        # asyncio's own send_signal polls first, and a child that has just ended would be reaped there, its status lost.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    async def _greeting(self) -> tuple[str, str]:
        while line := await self._line():
            if found := _GREETING.search(line):
                return found[1].decode(), (found[2] or b"").decode()
        raise DemoFailed(f"The server did not start:\n{self.last_words}")

    async def _read_on(self) -> None:
        while await self._line():
            pass

    async def _line(self) -> bytes:
        assert self._process.stderr is not None
        try:
            line = await self._process.stderr.readline()
        except ValueError:
            # Longer than the reader's limit: what is in the buffer has been dropped.
            line = b"(a line too long to be shown)\n"
        self._last_lines.append(line)
        return line


@asynccontextmanager
async def own_server(data_dir: Path) -> AsyncIterator[OwnServer]:
    """Serves ``data_dir`` on free ports with every other setting at its default. Raises ``DemoFailed``."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TEAHOUSE_")}
    # No teahouse.toml of the working directory is meant for it, hence a directory of its own.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _START, "serve", "--port", "0", "--realtime-port", "0", "--data-dir", str(data_dir),
        env={**clean, "TEAHOUSE_ACCESS_LOG": str(data_dir / "access.log")},
        cwd=data_dir,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        # Ctrl-C reaches the demo alone, which then stops the server in order.
        start_new_session=True,
    )  # fmt: skip
    server = OwnServer(process)
    try:
        await server.ready()
        yield server
    finally:
        await server.stop()
