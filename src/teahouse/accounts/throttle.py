"""How often something may happen."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Limit(NamedTuple):
    """A leaky bucket for each key: ``events`` at once, and one more every ``seconds / events`` after that.

    ``name`` is short and constant; keys of limits with different names have nothing to do with each other.
    """

    name: str
    events: int
    seconds: float


class Throttle(Protocol):
    """Counts events by limit and key. Each method is atomic, and what one node counts all nodes see.

    Bounded: a key takes memory only until its bucket has run dry. Raises ``RedisUnavailable``, ``OutcomeUnknown`` or
    ``Overloaded`` where nothing can be counted; whoever asked must not go on then.
    """

    async def wait(self, limit: Limit, key: str) -> int:
        """Whole seconds until ``key`` may go on; 0 when it may now. Counts nothing."""
        ...

    async def add(self, limit: Limit, key: str) -> None:
        """One event that has happened, whether or not it may have."""
        ...

    async def take(self, limit: Limit, key: str) -> int:
        """One event where it may happen now, and 0; otherwise nothing is counted, and the seconds to wait."""
        ...
