"""Where the bytes of uploads are: kept under an upload's id, in order, by one writer at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from teahouse.web.sending import Piece


class Storage(Protocol):
    """Raises ``InsufficientStorage`` where there is no room; what was kept before then stays as it was."""

    async def start(self) -> None:
        """Makes sure that it can be written to."""
        ...

    async def aclose(self) -> None:
        """Ends what is under way."""
        ...

    async def append(self, object_id: str, offset: int, chunks: Sequence[bytes]) -> None:
        """Writes at ``offset``; what stood there and beyond it is not needed any more."""
        ...

    async def keep(self, object_id: str, size: int) -> None:
        """Everything up to ``size`` survives a power cut when this returns, unless the settings say otherwise."""
        ...

    async def join(self, object_id: str, parts: Sequence[tuple[str, int]]) -> None:
        """The contents of others, each with its size, one after the other, kept."""
        ...

    async def digest(self, object_id: str, size: int) -> str:
        """The SHA-256 of its first ``size`` bytes, in hexadecimal."""
        ...

    def pieces(self, object_id: str, spans: Sequence[tuple[bytes, int, int]]) -> AsyncGenerator[Piece, None]:
        """For an answer: for each span some bytes to go before it, and so much of the object from an offset on."""
        ...

    async def remove(self, object_id: str) -> None:
        """Nothing is kept of it any more; without effect where nothing was."""
        ...
