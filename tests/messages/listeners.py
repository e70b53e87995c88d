"""Receivers that write down what they were sent, and a bus that loses, doubles and reorders as a test wants."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from teahouse.messages.bus import Receive
from teahouse.messages.model import conversation_of

DEADLINE_SECONDS = 20.0


class Listener:
    """A ``Receiver``: frames in the order in which they came, and with what it was closed."""

    __slots__ = ("closed", "frames", "id", "user_id")

    def __init__(self, user_id: str, socket_id: str) -> None:
        self.user_id = user_id
        self.id = socket_id
        self.frames: list[bytes] = []
        self.closed: list[int] = []

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)

    async def drained(self) -> None:
        pass

    def close(self, code: int, reason: str = "") -> None:
        self.closed.append(code)

    @property
    def heard(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(frame) for frame in self.frames]

    def seqs(self, conversation: str) -> list[int]:
        """Of the messages of one conversation."""
        return [each["seq"] for each in self.heard if "seq" in each and self._named(each) == conversation]

    def _named(self, frame: dict[str, Any]) -> str:
        # What a direct message is called by its sender and by its receiver is one conversation.
        return frame["to"] if frame["to"].startswith("room:") else conversation_of(frame["senderId"], frame["to"])


class Wilful:
    """A ``Bus`` whose texts a test carries one by one: any of them, in any order, twice or never."""

    def __init__(self) -> None:
        self.current = True
        self.losses = 0
        self.topics: set[str] = set()
        self.under_way: list[tuple[str, bytes]] = []
        self.subscriptions = 0
        self.others: list[Wilful] = [self]
        self._receive: Receive | None = None
        self._hook: Callable[[], None] | None = None

    def on_receive(self, receive: Receive) -> None:
        self._receive = receive

    def on_loss(self, hook: Callable[[], None]) -> None:
        self._hook = hook

    async def subscribe(self, topics: Collection[str]) -> None:
        self.subscriptions += 1
        await asyncio.sleep(0)
        self.topics.update(topics)

    def unsubscribe(self, topics: Collection[str]) -> None:
        self.topics.difference_update(topics)

    def publish(self, topic: str, text: bytes) -> None:
        for other in self.others:
            if topic in other.topics:
                other.under_way.append((topic, text))

    async def sent(self) -> None:
        pass

    async def start(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def carry(self, at: int = 0, *, again: bool = False) -> None:
        """Brings one of those under way."""
        topic, text = self.under_way[at] if again else self.under_way.pop(at)
        assert self._receive is not None
        self._receive(topic, text)

    def carry_all(self) -> None:
        while self.under_way:
            self.carry()

    def lose(self) -> None:
        """Whatever is under way is lost, and it is known that something was."""
        self.under_way.clear()
        self.losses += 1
        assert self._hook is not None
        self._hook()


async def eventually(is_so: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> float:
    """Waits until it is so; how long that took."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def a_moment() -> None:
    """Whatever can happen without time going by has happened."""
    for _ in range(50):
        await asyncio.sleep(0)
