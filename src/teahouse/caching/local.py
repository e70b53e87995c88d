"""The local layer of a cache: what this process remembers of it, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, Generic, Literal, TypeVar

V = TypeVar("V")


class Absent(Enum):
    """Says of a key that there is nothing behind it, where None says that this is not known."""

    MISSING = "missing"


MISSING: Final = Absent.MISSING
# How long "this process hears" is taken for granted.
_BELIEVED_SECONDS = 0.1

Missing = Literal[Absent.MISSING]


class LocalLayer(Generic[V]):
    """Values and their absence by key, in two generations: when the young one is full, the old one is dropped.

    What is read moves back among the young, so a key in use stays. Each generation holds at most half of
    ``max_entries``, and half of ``max_weight`` as ``weigh`` has it (bytes, roughly); what alone is heavier than that
    is not kept.

    An entry is good until ``trusted_until`` in any case, and from then up to ``expires_at`` while ``hearing()``:
    while this process would hear of a change. Moments are those of ``now()``. ``reads`` counts the answers by the layer
    they came from.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        hearing: Callable[[], bool],
        max_entries: int,
        max_weight: int,
        weigh: Callable[[V], int],
    ) -> None:
        self.reads = {"local": 0, "shared": 0, "loaded": 0, "negative": 0}
        self._now = now
        self._hearing = hearing
        self._heard_until = 0.0
        self._most = max(max_entries // 2, 1)
        self._heaviest = max_weight // 2
        self._weigh = weigh
        self._weight = 0
        self._young: dict[str, tuple[V | Missing, float, float]] = {}
        self._old: dict[str, tuple[V | Missing, float, float]] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def read(self, key: str) -> V | Missing | None:
        """What is known of the key, ``MISSING`` where there is nothing behind it; None where it has to be loaded."""
        entry = self._young.get(key) or self._moved(key)
        if entry is None:
            return None
        value, trusted_until, expires_at = entry
        now = self._now()
        if now >= trusted_until and (now >= expires_at or (now >= self._heard_until and not self._hears(now))):
            return None
        if value is MISSING:
            self.reads["negative"] += 1
        else:
            self.reads["local"] += 1
        return value

    def put(self, key: str, value: V | Missing, *, trusted_until: float, expires_at: float) -> None:
        """Remembers what is behind the key."""
        self.drop(key)
        self._add(key, (value, trusted_until, expires_at))

    def outdated(self, key: str, seconds: float) -> V | Missing | None:
        """What was known up to ``seconds`` ago and would not have been dropped since; else None."""
        entry = self._young.get(key) or self._old.get(key)
        if entry is None or not self._hearing() or self._now() >= entry[2] + seconds:
            return None
        return entry[0]

    def drop(self, key: str) -> None:
        """Forgets one key."""
        entry = self._young.pop(key, None)
        if entry is not None:
            self._weight -= self._weight_of(entry[0])
        self._old.pop(key, None)

    def clear(self) -> None:
        """Forgets everything."""
        self._heard_until = 0.0
        self._young, self._old, self._weight = {}, {}, 0

    def _hears(self, now: float) -> bool:
        # To ask costs more than the rest of a read. What was told 0.8 s ago has been heard, so within a second in all.
        if self._hearing():
            self._heard_until = now + _BELIEVED_SECONDS
            return True
        return False

    def _moved(self, key: str) -> tuple[V | Missing, float, float] | None:
        entry = self._old.pop(key, None)
        if entry is not None:
            self._add(key, entry)
        return entry

    def _add(self, key: str, entry: tuple[V | Missing, float, float]) -> None:
        weight = self._weight_of(entry[0])
        if weight > self._heaviest:
            return
        if len(self._young) >= self._most or self._weight + weight > self._heaviest:
            self._young, self._old, self._weight = {}, self._young, 0
        self._young[key] = entry
        self._weight += weight

    def _weight_of(self, value: V | Missing) -> int:
        return 0 if isinstance(value, Absent) else self._weigh(value)
