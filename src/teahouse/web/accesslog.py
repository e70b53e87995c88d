"""The access log: one JSON object a line, flushed together.

A line costs the loop about a microsecond; lines leave when a few hundred have gathered or a tenth of a second has
passed, and another thread writes them.
"""

from __future__ import annotations

import asyncio
import time
from functools import lru_cache

import msgspec

from teahouse.web.descriptor import DescriptorWriter

_GATHER_LINES = 512
_GATHER_SECONDS = 0.1
_CLOSE_SECONDS = 2.0
# An address may have a megabyte; five hundred such lines would be half a gigabyte.
_MAX_PATH = 2048


class Line(msgspec.Struct, rename="camel", gc=False):
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

    def __init__(self, descriptor: int) -> None:
        self._writer = DescriptorWriter(descriptor, name="access-log")
        self._encode_lines = msgspec.json.Encoder().encode_lines
        self._lines: list[Line] = []
        self._timer: asyncio.TimerHandle | None = None
        self._millisecond = -1
        self._stamp = ""

    @property
    def dropped(self) -> int:
        """Lines that could not be kept."""
        return self._writer.dropped

    def add(
        self, moment: float, method: str, path: str, status: int, size: int, seconds: float, client: str,
        request_id: bytes, route: str,
    ) -> None:  # fmt: skip
        """``moment`` in Unix seconds, ``size`` the body's bytes."""
        millisecond = int(moment * 1000)
        if millisecond != self._millisecond:
            self._millisecond, self._stamp = millisecond, _stamp(millisecond)
        duration = int(seconds * 1_000_000) / 1000
        if len(path) > _MAX_PATH:
            path = path[:_MAX_PATH] + "…"
        self._lines.append(Line(self._stamp, method, path, status, size, duration, client, request_id.decode(), route))
        if len(self._lines) >= _GATHER_LINES:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._flush)

    async def aclose(self) -> None:
        """Writes what is left, unless the descriptor blocks for longer than two seconds."""
        self._flush()
        await asyncio.to_thread(self._writer.close, _CLOSE_SECONDS)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if lines:
            self._writer.write(self._encode_lines(lines))


def _stamp(millisecond: int) -> str:
    second, rest = divmod(millisecond, 1000)
    return f"{_stamp_of_second(second)}.{rest:03d}Z"


@lru_cache(1)
def _stamp_of_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class NullAccessLog:
    """For servers that keep no access log."""

    dropped = 0

    def add(self, *_line: object) -> None:
        """Keeps nothing."""

    async def aclose(self) -> None:
        """Has nothing to write."""
