"""The access log: one JSON object a line, flushed together.

A line costs the loop well under a microsecond; lines leave when a few hundred have gathered or a tenth of a second has
passed, and the write happens in a thread, so that a full pipe or a slow disk holds up nobody. What waits is bounded:
past that, lines are dropped and counted, for a log must not take the service down.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec

from teahouse.web.figures import ServerFigures

_GATHER_LINES = 512
_GATHER_SECONDS = 0.1
_MAX_WAITING_BYTES = 8 * 1024 * 1024


class Line(msgspec.Struct, rename="camel", gc=False, array_like=False):
    """One answered request. ``duration_ms`` runs from the end of the request's head to the answer being handed over."""

    time: str
    method: str
    path: str
    status: int
    bytes: int
    duration_ms: float
    client: str
    request_id: str
    route: str


class AccessLog:
    """Writes lines to a file descriptor it does not own."""

    def __init__(self, descriptor: int, figures: ServerFigures) -> None:
        self._descriptor = descriptor
        self._figures = figures
        self._encode_lines = msgspec.json.Encoder().encode_lines
        self._lines: list[Line] = []
        self._pending = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._write: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="access-log")
        self._second = -1
        self._second_text = ""

    def add(
        self, moment: float, method: str, path: str, status: int, size: int, seconds: float, client: str,
        request_id: bytes, route: str,
    ) -> None:  # fmt: skip
        """``moment`` in Unix seconds, ``size`` the body's bytes."""
        second = int(moment)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        stamp = f"{self._second_text}.{int((moment - second) * 1000):03d}Z"
        duration = int(seconds * 1_000_000) / 1000
        self._lines.append(Line(stamp, method, path, status, size, duration, client, request_id.decode(), route))
        if len(self._lines) >= _GATHER_LINES:
            self._gather()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._gather)

    async def aclose(self) -> None:
        """Writes what is left."""
        self._gather()
        while self._write is not None:
            await asyncio.wait([self._write])
        self._thread.shutdown(wait=False)

    def _gather(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if len(self._pending) > _MAX_WAITING_BYTES:
            self._figures.log_lines_dropped += len(lines)
        else:
            self._pending += self._encode_lines(lines)
        if self._write is None and self._pending:
            self._flush()

    def _flush(self) -> None:
        chunk, self._pending = bytes(self._pending), bytearray()
        loop = asyncio.get_running_loop()
        self._write = loop.run_in_executor(self._thread, _write_all, self._descriptor, chunk)
        self._write.add_done_callback(self._flushed)

    def _flushed(self, write: asyncio.Future[None]) -> None:
        self._write = None
        if write.exception() is not None:
            # The disk is full or the reader of the pipe is gone; there is nobody to tell but the figures.
            self._figures.log_lines_dropped += 1
        if self._pending:
            self._flush()


class NullAccessLog:
    """For servers that keep no access log."""

    def add(self, *_line: object) -> None:
        return None

    async def aclose(self) -> None:
        return None


def _write_all(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]
