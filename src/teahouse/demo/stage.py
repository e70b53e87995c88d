"""Where the day is watched: a port, and the phases it is told of."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Phase(StrEnum):
    """The parts of the day, in order."""

    OPENING = "The shop opens"
    LOGIN = "Buyers log in"
    CATALOGUE = "They look at the catalogue"
    ROOM = "They meet in the sale's room"
    SALE = "They look at the sale, and chat"
    RUSH = "The sale starts"
    PAYING = "They pay, cancel, or vanish"
    RETURNS = "What was not paid returns"
    CLOSING = "Every buyer reads their orders"


class Stage(Protocol):
    """Is told how far the day is. Called on the event loop, thousands of times: every call returns at once."""

    def begin(self, phase: Phase, total: int) -> None:
        """The phase begins; it has that many steps."""
        ...

    def advance(self) -> None:
        """One step of the present phase is done."""
        ...

    def end(self) -> None:
        """The present phase is over."""
        ...


class NoStage:
    """Nobody watches."""

    def begin(self, phase: Phase, total: int) -> None:
        """Shows nothing."""

    def advance(self) -> None:
        """Shows nothing."""

    def end(self) -> None:
        """Shows nothing."""
