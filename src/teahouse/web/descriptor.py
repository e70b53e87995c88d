"""Writing to a log that may block: a full pipe, a slow disk, a terminal that is held."""

from __future__ import annotations

import logging
import os
import select
import stat
import threading
from queue import SimpleQueue

MAX_WAITING_BYTES = 8 * 1024 * 1024


class DescriptorWriter:
    """Writes chunks in order from a thread of its own, to a descriptor it does not own; the caller never waits.

    What waits is bounded: past ``max_waiting`` bytes chunks are dropped and their lines counted, for a log must not
    take the service down. The thread is a daemon: a reader that never reads must not keep the process from ending.
    """

    def __init__(self, descriptor: int, *, name: str, max_waiting: int = MAX_WAITING_BYTES) -> None:
        self._descriptor = descriptor
        # Other processes may write there too. A file takes each write whole; a pipe, a socket or a terminal takes so
        # many bytes whole (pipe(7)).
        self._whole = MAX_WAITING_BYTES if stat.S_ISREG(os.fstat(descriptor).st_mode) else select.PIPE_BUF
        self._max_waiting = max_waiting
        # Each is changed by one thread only, so that neither needs a lock.
        self._taken = 0
        self._refused_lines = 0
        self._done = 0
        self._lost_lines = 0
        self._chunks: SimpleQueue[bytes] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were not taken, or taken and could not be written."""
        return self._refused_lines + self._lost_lines

    def write(self, chunk: bytes) -> bool:
        """Takes a chunk; False where it was dropped."""
        if self._taken - self._done + len(chunk) > self._max_waiting:
            self._refused_lines += chunk.count(b"\n")
            return False
        self._taken += len(chunk)
        self._chunks.put(chunk)
        return True

    def close(self, seconds: float) -> bool:
        """Blocks until everything is written, so long at most; False where something is left."""
        self._chunks.put(b"")
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while chunk := self._chunks.get():
            # Where the disk is full or the reader has gone there is nobody to tell but the figures.
            self._lost_lines += _write_all(self._descriptor, chunk, self._whole)
            self._done += len(chunk)


class DescriptorHandler(logging.Handler):
    """A logging handler over a ``DescriptorWriter``: what goes wrong is told without stopping the loop."""

    def __init__(self, writer: DescriptorWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Formats the record and hands it to the writer's thread."""
        try:
            self._writer.write((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except Exception:  # noqa: BLE001  # a handler never raises (logging's own rule)
            self.handleError(record)


def _write_all(descriptor: int, chunk: bytes, whole: int) -> int:
    """Whole lines in writes of that many bytes, where a line is not longer. Returns how many could not be written."""
    written = 0
    try:
        while written < len(chunk):
            end = len(chunk)
            if end - written > whole:
                end = chunk.rfind(b"\n", written, written + whole) + 1 or chunk.find(b"\n", written) + 1 or end
            written += os.write(descriptor, memoryview(chunk)[written:end])
    except OSError:
        return chunk.count(b"\n", written)
    return 0
