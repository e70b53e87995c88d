"""Where the sandbox keeps which login codes were issued and used."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

LIFE_MS = 5 * 60 * 1000


class Claim(Enum):
    """What becomes of a code somebody presents."""

    GOOD = "it works, this once"
    USED = "it has worked before"
    EXPIRED = "it was issued too long ago"


class SandboxCodes(Protocol):
    """Codes outlive a restart: none works twice. Moments are Unix milliseconds.

    Each method is atomic, and on disk when it returns; raises ``DatabaseUnavailable``.
    """

    async def issue(self, code: str, now: int) -> None:
        """From now on the code is good once, for ``LIFE_MS``."""
        ...

    async def claim(self, codes: Sequence[str], now: int) -> list[Claim]:
        """One result for each code, in order; of equal ones, also on other nodes, at most one is good.

        A code that was never issued counts as issued now: clients of the sandbox make their own.
        """
        ...

    async def sweep(self, *, before: int) -> int:
        """Forgets a bounded number of codes issued before this moment; returns how many."""
        ...
