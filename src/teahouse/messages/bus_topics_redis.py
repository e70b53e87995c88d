"""Which channels the bus has subscribed on its connection: those of one moment leave in one command."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from itertools import islice
from typing import NamedTuple

from teahouse.engines.redis_subscription import Subscription
from teahouse.problems import RedisUnavailable

# Channels in one command, whose confirmation is awaited before the next one leaves.
PARCEL = 500


class Words(NamedTuple):
    """What the kind of Pub/Sub in use calls things."""

    subscribe: str
    unsubscribe: str
    publish: str
    pushed: bytes


PLAIN = Words("SUBSCRIBE", "UNSUBSCRIBE", "PUBLISH", b"message")
SHARDED = Words("SSUBSCRIBE", "SUNSUBSCRIBE", "SPUBLISH", b"smessage")


class Topics:
    """What is wanted, and what the server at the other end has been told of it."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        # By topic, whether it has left over this connection.
        self._wanted: dict[str, bool] = {}
        self._new: dict[str, None] = {}
        self._old: dict[str, None] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._mark = 0
        self._confirming: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._wanted)

    def add(self, topics: Collection[str]) -> None:
        """Wants them."""
        for topic in topics:
            if topic in self._wanted:
                continue
            kept = topic in self._old
            self._wanted[topic] = kept
            if kept:
                del self._old[topic]
            else:
                self._new[topic] = None
                self._wake.set()

    async def confirmation(self) -> None:
        """Returns when what was wanted when it was called is subscribed. Raises ``RedisUnavailable`` where the
        connection is lost meanwhile.
        """
        if not self._new and self._confirming is None:
            return
        self._wake.set()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def remove(self, topics: Collection[str]) -> None:
        """Does not want them any more."""
        for topic in topics:
            left = self._wanted.pop(topic, None)
            if left:
                self._old[topic] = None
                self._wake.set()
            elif left is not None:
                self._new.pop(topic, None)

    def again(self) -> None:
        """A new connection, which knows of nothing."""
        self._old.clear()
        self._wanted = dict.fromkeys(self._wanted, False)
        self._new = dict.fromkeys(self._wanted)

    def lost(self, reason: RedisUnavailable) -> None:
        """The connection is gone: whoever waits is told."""
        waiters, self._waiters, self._confirming = self._waiters, [], None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(RedisUnavailable(reason.detail))
                # Whoever was cancelled does not look.
                waiter.exception()

    def confirmed(self, mark: int) -> None:
        """The server has answered everything that left before this mark."""
        if mark == self._mark and self._confirming is not None and not self._confirming.done():
            self._confirming.set_result(None)

    async def keep(self, link: Subscription, words: Words, timeout_seconds: float) -> None:
        """Tells the server what is wanted, as it changes. Raises ``TimeoutError``."""
        while True:
            await self._wake.wait()
            await self.settle(link, words, timeout_seconds)

    async def settle(self, link: Subscription, words: Words, timeout_seconds: float) -> None:
        """Returns when everything that is wanted has been confirmed. Raises ``TimeoutError``."""
        self._wake.clear()
        while self._new or self._old or self._waiters:
            old, new = self._parcel(self._old), self._parcel(self._new)
            for topic in new:
                self._wanted[topic] = True
            # Those who came before now wait for no more than this, if nothing is left over.
            waiters: list[asyncio.Future[None]] = []
            if not self._new:
                waiters, self._waiters = self._waiters, waiters
            try:
                await self._say(link, words, old, new, timeout_seconds)
            except BaseException:
                self._waiters += waiters
                raise
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def _say(
        self, link: Subscription, words: Words, old: list[str], new: list[str], timeout_seconds: float
    ) -> None:
        self._mark += 1
        self._confirming = asyncio.get_running_loop().create_future()
        commands: list[tuple[str | bytes, ...]] = [("PING", f"t{self._mark}")]
        if old:
            commands.insert(0, (words.unsubscribe, *map(self._channel, old)))
        if new:
            commands.insert(0, (words.subscribe, *map(self._channel, new)))
        link.send(*commands)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._confirming
        finally:
            self._confirming = None

    def _channel(self, topic: str) -> bytes:
        return self._prefix + topic.encode()

    @staticmethod
    def _parcel(topics: dict[str, None]) -> list[str]:
        parcel = list(islice(topics, PARCEL))
        for topic in parcel:
            del topics[topic]
        return parcel
