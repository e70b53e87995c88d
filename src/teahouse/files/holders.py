"""Who is writing an upload just now: one at a time, who can be asked to let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from teahouse.files.problems import UploadLocked


class _Holder:
    __slots__ = ("interrupt", "released")

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self.interrupt = interrupt
        self.released = asyncio.Event()


class Holders:
    """The writers of one process."""

    def __init__(self, wait_seconds: float = 5.0) -> None:
        self._holders: dict[str, _Holder] = {}
        self._wait_seconds = wait_seconds

    def __len__(self) -> int:
        return len(self._holders)

    def __contains__(self, upload_id: object) -> bool:
        return upload_id in self._holders

    @asynccontextmanager
    async def holding(self, upload_id: str, interrupt: Callable[[], None]) -> AsyncIterator[None]:
        """Nobody else writes it in this block; ``interrupt`` is called where somebody asks for it. Raises
        ``UploadLocked`` where somebody is writing it.
        """
        if upload_id in self._holders:
            raise UploadLocked
        holder = self._holders[upload_id] = _Holder(interrupt)
        try:
            yield
        finally:
            del self._holders[upload_id]
            holder.released.set()

    async def free(self, upload_id: str) -> None:
        """Whoever writes it keeps what has come and stops: a client that asks has given that connection up.

        Raises ``UploadLocked`` where that takes too long.
        """
        holder = self._holders.get(upload_id)
        if holder is None:
            return
        holder.interrupt()
        try:
            async with asyncio.timeout(self._wait_seconds):
                await holder.released.wait()
        except TimeoutError as error:
            raise UploadLocked from error
