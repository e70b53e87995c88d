"""The port of the shared layer, and how long things live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from teahouse.caching.local import Missing

V = TypeVar("V")

# Without word from the other nodes, an entry is trusted this long.
BRIEF_SECONDS = 1.0


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How long things live, in seconds.

    ``jitter`` is the share of a life that chance may take off, so that what was loaded together is not loaded anew
    together. ``changing_seconds`` is the life of a tombstone: longer than a write and the lag of a replica together.
    """

    seconds: float = 60.0
    negative_seconds: float = 5.0
    jitter: float = 0.1
    changing_seconds: float = 10.0
    stale_if_error_seconds: float = 0.0


class Held(msgspec.Struct, Generic[V], frozen=True):
    """What the shared layer says of a key.

    A ``value`` (or ``MISSING``) that is good for ``seconds`` more; or a ``lease``, the right to ``fill`` what is not
    there; or neither: read the truth itself, and keep it to yourself.
    """

    value: V | Missing | None = None
    seconds: float = 0.0
    lease: bytes | None = None


class SharedLayer(Protocol[V]):
    """What all nodes remember together, and how they hear of changes."""

    def listen(self, drop: Callable[[str], None], clear: Callable[[], None]) -> None:
        """``drop(key)`` when a key changed, whoever changed it; ``clear()`` when changes may have been missed."""
        ...

    def hearing(self) -> bool:
        """Whether every change told up to 0.9 s ago has been heard."""
        ...

    async def read(self, keys: Sequence[str]) -> Sequence[Held[V]]:
        """What is held of each key. Out of reach, and what cannot be read, is neither value nor lease: no error.

        A lease is shared by all who ask before the key is filled or changed, and ends by itself in a short while. Where
        the layer itself may have lost what it was told, it first calls ``clear()`` and holds nothing.
        """
        ...

    def fill(self, key: str, lease: bytes, value: V | Missing, seconds: float) -> None:
        """Keeps the value, unless the key was changed since the lease was given. Does not wait; may come to nothing."""
        ...

    async def change(self, key: str, seconds: float) -> None:
        """Forgets the key, ends its leases, gives none for ``seconds``, and tells every node: all of it or nothing.

        Raises ``RedisUnavailable``, and ``OutcomeUnknown`` where it may have happened.
        """
        ...

    async def aclose(self) -> None:
        """Ends what is under way."""
        ...
