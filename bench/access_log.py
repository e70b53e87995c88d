"""Counts what a server wrote about its requests: a server that drops lines did less work."""

from pathlib import Path

from bench.failures import BenchFailed
from bench.servers import Server, wait_for

CHUNK = 1 << 20


class AccessLog:
    """One server's log file, emptied after every round so that it cannot fill the disk."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._offset = 0
        self._lines = 0

    def settle(self, server: Server, requests: int) -> None:
        """Waits until there is a line for every request, then empties the file.

        Raises BenchFailed when lines are still missing after ten seconds.
        """
        if not wait_for(lambda: self.count() >= requests, patience=10):
            raise BenchFailed(f"{server.plan.name} logged {self._lines} of {requests} requests")
        self.empty()

    def empty(self) -> None:
        """Forgets everything so far. The server writes in append mode and goes on at the start."""
        with self.file.open("r+b") as log:
            log.truncate()
        self._offset = self._lines = 0

    def count(self) -> int:
        """Lines since the file was emptied last."""
        with self.file.open("rb") as log:
            log.seek(self._offset)
            while chunk := log.read(CHUNK):
                self._lines += chunk.count(b"\n")
                self._offset += len(chunk)
        return self._lines
