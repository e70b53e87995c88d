"""Where the load is watched: a port."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Is told how far the load is. Called on the event loop, thousands of times: every call returns at once."""

    def begin(self, title: str, total: int) -> None:
        """A part of that many steps begins."""
        ...

    def advance(self, steps: int = 1) -> None:
        """So many further steps are done."""
        ...

    def end(self) -> None:
        """The present part is over."""
        ...


class NoProgress:
    """Nobody watches."""

    def begin(self, title: str, total: int) -> None:
        """Shows nothing."""

    def advance(self, steps: int = 1) -> None:
        """Shows nothing."""

    def end(self) -> None:
        """Shows nothing."""
