"""Bodies that are read while they arrive: larger than memory, with the sender held back to the reader's pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from teahouse.problems import Problem

# What waits here for its reader, besides what the kernel holds: one turn of a fast sender and a little more.
HELD_BYTES = 512 * 1024


class ClientGone(Exception):
    """The connection ended before the body did. What came before is all there will be, and nobody reads an answer."""


class BodyStream:
    """The body of one request, read by one reader.

    ``length`` is its size in bytes as the client announced it, None where it sends chunks until it is done.
    """

    __slots__ = (
        "_chunks",
        "_ended",
        "_failure",
        "_held",
        "_hold",
        "_invite",
        "_release",
        "_waiter",
        "dropped",
        "length",
    )

    def __init__(self, length: int | None, hold: Callable[[], None], release: Callable[[], None]) -> None:
        self.length = length
        self.dropped = False
        self._hold = hold
        self._release = release
        self._chunks: list[bytes] = []
        self._held = 0
        self._ended = False
        self._failure: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._invite: Callable[[], None] | None = None

    # --- for the reader -----------------------------------------------------------------------------------------------

    async def read(self) -> list[bytes]:
        """What has arrived since the last call, at least one byte; empty at the end of the body.

        Raises ``ClientGone`` where the connection ended first, and a ``Problem`` where the body is no HTTP or stood
        still, both only after all that came before has been read.
        """
        while not self._chunks:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return []
            await self._more()
        chunks, self._chunks = self._chunks, []
        self._let_go()
        return chunks

    @property
    def is_over(self) -> bool:
        """Whether nothing more will arrive: the body is complete, or its connection failed."""
        return self._ended or self._failure is not None

    @property
    def is_complete(self) -> bool:
        """Whether the whole body has arrived."""
        return self._ended

    @property
    def is_held(self) -> bool:
        """Whether the sender waits for the reader."""
        return self._held > HELD_BYTES and not self.is_over

    async def _more(self) -> None:
        if self._invite is not None:
            invite, self._invite = self._invite, None
            invite()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # --- for the connection -------------------------------------------------------------------------------------------

    def expects(self, invite: Callable[[], None]) -> None:
        """The client sends nothing before it is told to (``Expect: 100-continue``); ``invite`` tells it."""
        self._invite = invite

    def feed(self, chunk: bytes) -> None:
        """A piece of the body."""
        if self.dropped:
            return
        self._chunks.append(chunk)
        self._held += len(chunk)
        if self._held > HELD_BYTES:
            self._hold()
        self._wake()

    def end(self) -> None:
        """The body is complete."""
        self._ended = True
        self._invite = None
        self._wake()

    def fail(self, failure: Problem | ClientGone) -> None:
        """Nothing more will come, though the body is not complete; without effect where it is."""
        if not self.is_over:
            self._failure = failure
            self._wake()

    def drop(self) -> None:
        """The answer is out: what is still coming has no reader."""
        self.dropped = True
        self._chunks.clear()
        self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, 0
        if held > HELD_BYTES:
            self._release()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
