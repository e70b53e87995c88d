"""What sockets send in one turn of the loop leaves at its end, in one write for each socket."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from teahouse.messages.framing import TEXT
from teahouse.messages.framing import frame as framed_as

_log = logging.getLogger(__name__)

# Written to at a time, so that HTTP has its turn while thousands are.
_SLICE = 512


class Flushing(Protocol):
    """A socket that has something to send."""

    def flush(self) -> None:
        """Writes it."""
        ...

    def abort(self) -> None:
        """Ends the connection at once."""
        ...


class Outbox:
    """The sockets that have something to send: each writes once, at the end of the loop's turn.

    One message for many sockets is framed once: ``frame`` is that of ``payload``, the last one.
    """

    __slots__ = ("_loop", "_waiting", "frame", "payload")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[Flushing] = []
        self.payload: bytes | None = None
        self.frame = b""

    def framed(self, payload: bytes) -> bytes:
        """The payload as one unmasked text frame."""
        if payload is not self.payload:
            self.payload, self.frame = payload, framed_as(TEXT, payload)
        return self.frame

    def add(self, socket: Flushing) -> None:
        """The socket's ``flush`` is called soon."""
        if not self._waiting:
            self._call_soon()
        self._waiting.append(socket)

    def _call_soon(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        now, self._waiting = self._waiting[:_SLICE], self._waiting[_SLICE:]
        if self._waiting:
            self._call_soon()
        else:
            self.payload, self.frame = None, b""
        for each in now:
            try:
                each.flush()
            except Exception:  # noqa: BLE001 - logged; the others are written to
                _log.exception("a socket could not be written to")
                each.abort()
