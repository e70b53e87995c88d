"""A shared layer in memory, whose time, connections and losses belong to the test."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from teahouse.caching import MISSING, Held
from teahouse.problems import RedisUnavailable
from tests.clocks import ManualClock

_LEASE_SECONDS = 30.0
_STALE_SECONDS = 0.8


class Kept(NamedTuple):
    """``what``: value, lease or tombstone."""

    what: str
    value: object
    until: float
    incarnation: int


class Memory:
    """What stands in for Redis: entries by key, and who listens."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.entries: dict[str, Kept] = {}
        self.incarnation = 1
        self.leases = 0
        self.nodes: list[MemoryLayer] = []

    def at(self, key: str) -> Kept | None:
        kept = self.entries.get(key)
        return kept if kept is not None and kept.until > self.clock.monotonic() else None

    def restart(self, entries: dict[str, Kept]) -> None:
        """Comes back with what it held some time ago; every connection is lost."""
        self.entries = dict(entries)
        self.incarnation += 1
        for node in self.nodes:
            node.lose_feed()


class MemoryLayer:
    """One node's way to ``Memory``."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.connected = True
        self._drop: Callable[[str], None] = lambda key: None
        self._clear: Callable[[], None] = lambda: None
        self._unheard: deque[tuple[float, str]] = deque()
        self._deaf_since: float | None = None
        self._seen = 0
        memory.nodes.append(self)

    # --- the port ---

    def listen(self, drop: Callable[[str], None], clear: Callable[[], None]) -> None:
        self._drop, self._clear = drop, clear

    def hearing(self) -> bool:
        now = self.memory.clock.monotonic()
        # As with the real feed: a loss is noticed when the beats stay away.
        heard_up_to = self._deaf_since or (self._unheard[0][0] if self._unheard else now)
        return now - heard_up_to < _STALE_SECONDS

    async def read(self, keys: Sequence[str]) -> Sequence[Held]:
        if not self.connected:
            return [Held() for _ in keys]
        if self._seen != self.memory.incarnation:
            self._seen = self.memory.incarnation
            self._clear()
            return [Held() for _ in keys]
        return [self._read(key) for key in keys]

    def _read(self, key: str) -> Held:
        memory, now = self.memory, self.memory.clock.monotonic()
        kept = memory.at(key)
        if kept is None or (kept.what != "tombstone" and kept.incarnation != self._seen):
            memory.leases += 1
            kept = Kept("lease", str(memory.leases).encode(), now + _LEASE_SECONDS, self._seen)
            memory.entries[key] = kept
        if kept.what == "lease":
            return Held(lease=kept.value)
        return Held(kept.value, kept.until - now) if kept.what == "value" else Held()

    def fill(self, key: str, lease: bytes, value: object, seconds: float) -> None:
        kept = self.memory.at(key)
        if self.connected and kept is not None and kept.what == "lease" and kept.value == lease:
            until = self.memory.clock.monotonic() + seconds
            self.memory.entries[key] = Kept("value", value, until, kept.incarnation)

    async def change(self, key: str, seconds: float) -> None:
        if not self.connected:
            raise RedisUnavailable
        now = self.memory.clock.monotonic()
        self.memory.entries[key] = Kept("tombstone", MISSING, now + seconds, self.memory.incarnation)
        for node in self.memory.nodes:
            if node._deaf_since is None:
                node._unheard.append((now, key))

    async def aclose(self) -> None:
        self.connected = False

    # --- faults ---

    @property
    def deaf(self) -> bool:
        return self._deaf_since is not None

    def hear(self) -> None:
        """Everything told so far arrives."""
        while self._unheard:
            self._drop(self._unheard.popleft()[1])

    def lose_feed(self) -> None:
        """What is told from now on, and what was on its way, is never heard."""
        if self._deaf_since is None:
            self._deaf_since = self._unheard[0][0] if self._unheard else self.memory.clock.monotonic()
        self._unheard.clear()

    def catch_up(self) -> None:
        """Listens again."""
        self._unheard.clear()
        self._clear()
        self._deaf_since = None
