"""Whether this node knows of every session that has ended."""

from __future__ import annotations

from typing import Protocol


class RevocationWatch(Protocol):
    """While ``current``, every end that was told up to a second ago is in this node's ``Revocations``."""

    @property
    def current(self) -> bool:
        """Asked at every request: must cost next to nothing."""
        ...

    async def has_ended(self, session_id: str) -> bool:
        """Asks where sessions are kept; a session that is not there has ended. Raises 503 problems."""
        ...


class OneProcess:
    """A ``RevocationWatch`` where nobody else can end a session."""

    current = True

    async def has_ended(self, session_id: str) -> bool:  # noqa: ARG002
        """What this process has heard is all there is to hear."""
        return False
