"""Between nodes: what was stored here is told to every node that has a receiver."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

Receive = Callable[[str, bytes], None]


class Bus(Protocol):
    """Carries short texts by topic, at most once: whoever relies on one asks the store what it missed.

    A topic is a conversation, or ``person:<user id>``. One sender's texts of one topic come in order. What this node
    publishes it receives itself, by the same way.
    """

    @property
    def current(self) -> bool:
        """Whether everything that was published up to a second ago has been received here."""
        ...

    @property
    def losses(self) -> int:
        """Rises whenever something may have been missed, after which every topic must be looked at in the store."""
        ...

    def on_receive(self, receive: Receive) -> None:
        """``receive(topic, text)`` is called on the loop for each text and must not wait. Call it once."""
        ...

    def on_loss(self, hook: Callable[[], None]) -> None:
        """``hook()`` is called on the loop each time that ``losses`` has risen. Call it once."""
        ...

    async def subscribe(self, topics: Collection[str]) -> None:
        """What is published after this returns is received. Raises ``RedisUnavailable``; they are subscribed then when
        the bus is there again, unless they are unsubscribed.
        """
        ...

    def unsubscribe(self, topics: Collection[str]) -> None:
        """Not to be received any more; some may still come."""
        ...

    def publish(self, topic: str, text: bytes) -> None:
        """Leaves soon, together with what is published in the same moment; may be lost."""
        ...

    async def sent(self) -> None:
        """Returns when what was published has left, however long that takes. Whoever publishes much waits for it."""
        ...

    async def start(self) -> None:
        """Receives when this returns. Raises ``RedisUnavailable``."""
        ...

    async def aclose(self) -> None:
        """Sends what was published, and receives no more."""
        ...
