"""Who is there, on whichever node."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol


class Presence(Protocol):
    """Counts each person once per node. What a node that died has left behind counts for half a minute at most.

    Everything raises ``RedisUnavailable`` where Redis keeps it; a node tells again, in bulk, who is on it, so that what
    was not told then is told later.
    """

    def on_gone(self, hook: Callable[[Sequence[str]], None]) -> None:
        """``hook(user_ids)`` is called, on one of the nodes that are left, with those who were on a node that died and
        are on no other. Call it once, before ``start``.
        """
        ...

    def on_restored(self, hook: Callable[[], None]) -> None:
        """``hook()`` is called when what others were told of this node's people, or of those of a node that died, may
        have been wrong for a while. Call it once, before ``start``.
        """
        ...

    async def start(self) -> None:
        """Call once."""
        ...

    async def aclose(self) -> None:
        """Nobody is on this node any more. Of whoever had not departed another node's ``on_gone`` is told."""
        ...

    async def arrived(self, user_id: str) -> bool:
        """They have a socket on this node now; True where they had none on any node before."""
        ...

    async def departed(self, user_id: str) -> bool:
        """They have no socket on this node any more; True where they have none on any other either."""
        ...

    async def online(self, user_ids: Collection[str]) -> set[str]:
        """Those of them who are there."""
        ...
