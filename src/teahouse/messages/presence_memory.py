"""Presence of the embedded default: the one node knows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence


class MemoryPresence:
    """A ``Presence`` within one worker."""

    def __init__(self) -> None:
        self._here: set[str] = set()

    def on_gone(self, hook: Callable[[Sequence[str]], None]) -> None:
        """See ``Presence``: there is no other node."""

    def on_restored(self, hook: Callable[[], None]) -> None:
        """See ``Presence``: nothing is ever lost."""

    async def start(self) -> None:
        """See ``Presence``."""

    async def aclose(self) -> None:
        """See ``Presence``."""
        self._here.clear()

    async def arrived(self, user_id: str) -> bool:
        """See ``Presence``."""
        new = user_id not in self._here
        self._here.add(user_id)
        return new

    async def departed(self, user_id: str) -> bool:
        """See ``Presence``."""
        known = user_id in self._here
        self._here.discard(user_id)
        return known

    async def online(self, user_ids: Collection[str]) -> set[str]:
        """See ``Presence``."""
        return self._here.intersection(user_ids)
