"""A clock that stands still until a test moves it."""

from __future__ import annotations

from teahouse.clock import Clock

# 2026-01-01T00:00:00Z
START = 1_767_225_600.0


class ManualClock(Clock):
    """Wall and monotonic time that only ``advance`` moves."""

    def __init__(self, now: float = START) -> None:
        super().__init__()
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += seconds

    def step_wall_clock(self, seconds: float) -> None:
        """Moves the wall clock alone, as an operator or NTP would."""
        self._now += seconds
