"""Whoever frames are delivered to."""

from __future__ import annotations

from typing import Protocol


class Receiver(Protocol):
    """One open socket of one user; hashable by identity."""

    @property
    def id(self) -> str:
        """Unique among all nodes: ``<node>.<count>``."""
        ...

    @property
    def user_id(self) -> str:
        """Whose it is."""
        ...

    def send(self, frame: bytes) -> None:
        """One text message, UTF-8 JSON; never raises, never waits."""
        ...

    async def drained(self) -> None:
        """Returns when it would take more than it has been sent already, or has ended. Whoever sends much waits."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Ends it; never raises, never waits."""
        ...
