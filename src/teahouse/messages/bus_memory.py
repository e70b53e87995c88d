"""The bus of the embedded default: one process, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from teahouse.messages.bus import Receive


class MemoryBus:
    """A ``Bus`` within one worker: what is published in one turn of the loop is received on the next, together."""

    current = True
    losses = 0

    def __init__(self) -> None:
        self._receive: Receive | None = None
        self._topics: set[str] = set()
        self._published: list[tuple[str, bytes]] = []

    def on_receive(self, receive: Receive) -> None:
        """See ``Bus``."""
        self._receive = receive

    def on_loss(self, hook: Callable[[], None]) -> None:
        """See ``Bus``: there is none."""

    async def subscribe(self, topics: Collection[str]) -> None:
        """See ``Bus``."""
        self._topics.update(topics)

    def unsubscribe(self, topics: Collection[str]) -> None:
        """See ``Bus``."""
        self._topics.difference_update(topics)

    def publish(self, topic: str, text: bytes) -> None:
        """See ``Bus``."""
        if topic in self._topics:
            if not self._published:
                asyncio.get_running_loop().call_soon(self._carry)
            self._published.append((topic, text))

    async def sent(self) -> None:
        """See ``Bus``."""
        await asyncio.sleep(0)

    async def start(self) -> None:
        """See ``Bus``."""

    async def aclose(self) -> None:
        """See ``Bus``."""
        self._carry()
        self._topics.clear()

    def _carry(self) -> None:
        published, self._published = self._published, []
        if self._receive is not None:
            for topic, text in published:
                self._receive(topic, text)
