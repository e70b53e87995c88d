"""What this node publishes: what is said in one moment leaves as one pipeline, and what may be lost is owned up to."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from teahouse.batching import FlushFailed
from teahouse.engines.redis import Redis
from teahouse.engines.redis_replies import told
from teahouse.messages.bus_topics_redis import PLAIN
from teahouse.problems import OutcomeUnknown, Problem

MOST_WAITING = 20_000
MOST_WAITING_BYTES = 16 * 1024 * 1024
# So many leave as one pipeline, beside whatever else this worker asks of Redis.
_PARCEL = 500
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5

_log = logging.getLogger(__name__)


class Publishing:
    """Publishes in order. While Redis is away texts wait, up to a bound. What does not fit, or may have been lost on
    its way, is not sent again, but all nodes are told that something was lost, as soon as Redis is there.
    """

    def __init__(self, redis: Redis, prefix: bytes, loss_channel: bytes) -> None:
        self.lost = 0
        self.words = PLAIN
        self._redis = redis
        self._prefix = prefix
        self._loss_channel = loss_channel
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._bytes = 0
        self._owing = False
        self._reason = ""
        self._wake = asyncio.Event()
        # Set while nothing waits.
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def waiting(self) -> int:
        """Texts that have not left."""
        return len(self._waiting)

    def add(self, topic: str, text: bytes) -> None:
        """Leaves soon."""
        if len(self._waiting) >= MOST_WAITING or self._bytes >= MOST_WAITING_BYTES:
            self.lost += 1
            self._owing = True
        else:
            self._waiting.append((self._prefix + topic.encode(), text))
            self._bytes += len(text)
        self.idle.clear()
        self._wake.set()

    async def aclose(self) -> None:
        """What was added has left, where Redis is there."""
        try:
            async with asyncio.timeout(self._redis.timeout_seconds):
                await self.idle.wait()
        except TimeoutError:
            _log.warning("%d texts for the other nodes could not be sent any more", len(self._waiting))

    async def run(self) -> None:
        """Publishes until it is cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._send_all()
            self.idle.set()

    async def _send_all(self) -> None:
        pause = _FIRST_PAUSE
        while self._waiting or self._owing:
            if await self._send():
                pause = _FIRST_PAUSE
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _send(self) -> bool:
        """One pipeline; False where Redis could not take it."""
        parcel = [self._waiting.popleft() for _ in range(min(_PARCEL, len(self._waiting)))]
        # What was lost is told after what is left, so that the store is looked at once for all of it.
        last = self._owing and not self._waiting
        if last:
            self._owing = False
            parcel.append((self._loss_channel, b""))
        results = await self._asked(parcel)
        refused = [entry for entry, result in zip(parcel, results, strict=True) if self._is_refused(result)]
        if refused and refused[-1][0] == self._loss_channel:
            self._owing = True
            refused.pop()
        self._waiting.extendleft(reversed(refused))
        self._bytes = sum(len(text) for _, text in self._waiting) if refused else self._bytes - _size(parcel)
        return not refused and not (last and self._owing)

    async def _asked(self, parcel: list[tuple[bytes, bytes]]) -> list[Any]:
        calls: list[asyncio.Future[Any]] = []
        refusal: BaseException | None = None
        for channel, text in parcel:
            try:
                calls.append(self._redis.call(self.words.publish, channel, text))
            except Problem as problem:
                refusal = problem
                break
        results: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
        return results + [refusal] * (len(parcel) - len(results))

    def _is_refused(self, result: Any) -> bool:
        """Whether it was not carried out and may be sent again. Where nobody knows, something may be lost."""
        if not isinstance(result, Exception):
            return False
        if isinstance(result, Problem) and not isinstance(result, OutcomeUnknown):
            return True
        if not isinstance(result, OutcomeUnknown | FlushFailed) and told(result) != self._reason:
            self._reason = told(result)
            _log.error("Redis refuses to publish: %s", self._reason)
        self.lost += 1
        self._owing = True
        return False


def _size(parcel: list[tuple[bytes, bytes]]) -> int:
    return sum(len(text) for _, text in parcel)
