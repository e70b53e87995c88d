"""Time and ids, injected so that tests own them."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_POOL_BYTES = 8000
_RANDOM_DIGITS = 16
# The two bits that say which kind of UUID it is, and two that are left to chance.
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
# Whole numbers throughout: seconds as a float lose a millisecond now and then.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MOMENTS = 256


class Clock:
    """The system's time, and ids that sort by it."""

    def __init__(self) -> None:
        self._last_ms = 0
        self._stamp = ""
        self._sequence = 0
        self._pool = ""
        self._used = 0

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        return time.time()

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return int(self.now() * 1000)

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never steps back."""
        return time.monotonic()

    def new_id(self) -> str:
        """A UUIDv7 (RFC 9562) as 32 hex characters.

        Ids of one process rise even within a millisecond and when the clock steps back (RFC 9562 §6.2, method 1).
        """
        return self._next_id(self.now_ms())

    def new_ids(self, count: int) -> list[str]:
        """So many ids of one moment, rising."""
        moment, next_id = self.now_ms(), self._next_id
        return [next_id(moment) for _ in range(count)]

    def _next_id(self, moment: int) -> str:
        if moment > self._last_ms:
            self._begin(moment)
        else:
            self._sequence += 1
            if self._sequence > 0xFFF:
                self._begin(self._last_ms + 1)
        start = self._used
        if start >= len(self._pool):
            # One system call for a thousand ids.
            self._pool, start = os.urandom(_POOL_BYTES).hex(), 0
        self._used = end = start + _RANDOM_DIGITS
        digits = self._pool[start:end]
        return f"{self._stamp}{self._sequence:03x}{_VARIANT[digits[0]]}{digits[1:]}"

    def _begin(self, moment: int) -> None:
        self._last_ms, self._stamp, self._sequence = moment, f"{moment:012x}7", 0


# Orders that were decided together share their times.
@lru_cache(_MOMENTS)
def to_datetime(milliseconds: int) -> datetime:
    """Unix milliseconds as an aware UTC datetime, which goes out as RFC 3339."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def to_milliseconds(moment: datetime) -> int:
    """An aware datetime as Unix milliseconds, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND
