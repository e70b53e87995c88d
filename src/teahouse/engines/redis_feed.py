"""The feed: what one node tells, every node hears (Redis Pub/Sub), and each node knows whether it still hears.

Pub/Sub forgets what nobody received. So whoever relies on the feed asks ``current`` first, and reads what was missed
from where it is kept when the feed has come back (``on_catch_up``).
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from teahouse.engines.redis import Redis
from teahouse.engines.redis_replies import told
from teahouse.problems import Problem

BEAT_SECONDS = 0.25
# What was told longer ago than this has been heard, or ``current`` is false.
STALE_SECONDS = 0.8
# One that took longer than this is given up, and begun again with a new subscription.
CATCH_UP_SECONDS = 30.0
_LONGEST_PAUSE = 0.5
# After a loop that was held up, beats that have come back wait to be read: they get this long.
_GRACE_SECONDS = 0.05
_EXPECTED = (RedisError, OSError, TimeoutError, Problem)

_log = logging.getLogger(__name__)


class Beats:
    """Which beats are on their way. A beat is back when it has come as often as it was sent."""

    def __init__(self) -> None:
        self._number = 0
        self._sent: dict[int, tuple[float, int]] = {}

    def next(self) -> int:
        """The number of the next beat."""
        self._number += 1
        return self._number

    def sent(self, number: int, at: float, count: int) -> None:
        """A beat leaves over so many ways."""
        self._sent[number] = at, count

    def back(self, number: int) -> float | None:
        """When a beat left that has now come back for the last time. Raises where an earlier one has not."""
        at, count = self._sent.get(number, (0.0, 0))
        if count > 1:
            self._sent[number] = at, count - 1
        if count != 1:
            return None
        del self._sent[number]
        if any(other < number for other in self._sent):
            # What was told meanwhile may be lost with it.
            raise RedisConnectionError("a beat was lost on its way")
        return at


class Feed:
    """Short messages to every node: a kind (no space in it) and a text.

    Delivery: at most once, in order from one sender; a handler is called on the event loop and must not wait. A beat
    goes to the server and back four times a second: everything told before a beat left has been heard when it is back.
    In a Cluster a beat goes through each primary, because each may tell.
    """

    def __init__(self, redis: Redis, *, channel: str = "teahouse:feed") -> None:
        self._redis = redis
        self._channel = f"{channel}:{redis.database}"
        self._beat_channel = f"{self._channel}:beats:{uuid.uuid4().hex}"
        self._handlers: dict[str, list[Callable[[str], None]]] = {}
        self._hooks: list[Callable[[], Awaitable[None]]] = []
        self._caught_up = False
        self._heard_at = 0.0
        self._run_id = ""
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.losses = 0
        self.heard = 0

    @property
    def current(self) -> bool:
        """Whether everything that was told up to ``STALE_SECONDS`` ago has been heard and acted upon."""
        return (
            self._caught_up
            and self._loop is not None
            and self._loop.time() - self._heard_at < STALE_SECONDS
            # Where another server has taken over, this one may still beat, but nobody tells it anything.
            and self._run_id in self._redis.incarnation
        )

    def on(self, kind: str, handler: Callable[[str], None]) -> None:
        """Calls the handler with the text of each message of that kind."""
        self._handlers.setdefault(kind, []).append(handler)

    def on_catch_up(self, hook: Callable[[], Awaitable[None]]) -> None:
        """Runs after each subscription, before ``current`` is true: reads what may have been missed.

        Messages that come meanwhile are handled meanwhile. Where it raises, the subscription begins anew.
        """
        self._hooks.append(hook)

    def publish(self, kind: str, text: str) -> asyncio.Future[Any]:
        """Tells every node, this one too. Await it to know that Redis has it; raises ``RedisUnavailable``."""
        if not kind or " " in kind:
            raise ValueError(f"a kind is a word without a space: {kind!r}")
        return self._redis.call("PUBLISH", self._channel, f"{kind} {text}")

    @property
    def channel(self) -> str:
        """For scripts that tell in the same step."""
        return self._channel

    # --- life ---

    async def start(self) -> None:
        """Listens when this returns. Raises ``RedisUnavailable`` where that is not possible."""
        self._loop = asyncio.get_running_loop()
        self._first = first = self._loop.create_future()
        self._task = self._loop.create_task(self._listen_on(first), name="feed")
        await first

    async def aclose(self) -> None:
        """Stops listening."""
        self._caught_up = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._first is not None:
            self._first.cancel()

    async def _listen_on(self, first: asyncio.Future[None]) -> None:
        while True:
            try:
                await self._listen(first)
            except Exception as error:  # noqa: BLE001  # whatever it was, this node must listen again
                foreseen = isinstance(error, _EXPECTED)
                if not first.done():
                    first.set_exception(self._redis.unavailable(error) if foreseen else error)
                    return
                self.losses += 1
                if foreseen:
                    _log.warning("the feed is lost: %s", told(error))
                else:
                    _log.exception("the feed is lost")
                await asyncio.sleep(random.uniform(0.05, _LONGEST_PAUSE))  # noqa: S311  # jitter, no secret

    async def _listen(self, first: asyncio.Future[None]) -> None:
        connection, self._run_id = await self._redis.subscription()
        try:
            async with asyncio.timeout(self._redis.timeout_seconds):
                asked_at = asyncio.get_running_loop().time()
                await self._subscribe(connection)
            self._heard_at = asked_at
            async with asyncio.TaskGroup() as group:
                beats = Beats()
                group.create_task(self._beat(connection, beats), name="feed beats")
                group.create_task(self._catch_up(first), name="feed catches up")
                await self._hear(connection, beats)
        except BaseExceptionGroup as errors:
            # Whichever of the three failed first took the others along.
            raise errors.exceptions[0] from errors
        finally:
            self._caught_up = False
            await connection.disconnect(nowait=True)

    async def _subscribe(self, connection: Connection) -> None:
        channels = (self._channel, self._beat_channel)
        await connection.send_command("SUBSCRIBE", *channels, check_health=False)
        for _ in channels:
            await connection.read_response()

    async def _catch_up(self, first: asyncio.Future[None]) -> None:
        async with asyncio.timeout(CATCH_UP_SECONDS):
            for hook in self._hooks:
                await hook()
        self._caught_up = True
        if not first.done():
            first.set_result(None)

    # --- beats ---

    async def _beat(self, connection: Connection, beats: Beats) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._redis.clustered:
                number = beats.next()
                beats.sent(number, loop.time(), 1)
                await connection.send_command("PING", number, check_health=False)
            else:
                await self._beat_everywhere(beats)
            await asyncio.sleep(BEAT_SECONDS)
            if loop.time() - self._heard_at > 2 * STALE_SECONDS:
                await asyncio.sleep(_GRACE_SECONDS)
                if loop.time() - self._heard_at > 2 * STALE_SECONDS:
                    raise TimeoutError
            if self._redis.connected and self._run_id not in self._redis.incarnation:
                raise RedisConnectionError("another server has taken over")

    async def _beat_everywhere(self, beats: Beats) -> None:
        number = beats.next()
        try:
            calls = self._redis.call_everywhere("PUBLISH", self._beat_channel, number)
        except Problem:
            # A beat that does not leave does not come back, which says it all.
            return
        beats.sent(number, asyncio.get_running_loop().time(), len(calls))
        async with asyncio.timeout(STALE_SECONDS):
            await asyncio.gather(*calls, return_exceptions=True)

    async def _hear(self, connection: Connection, beats: Beats) -> None:
        channel, beat_channel = self._channel.encode(), self._beat_channel.encode()
        while True:
            reply = await connection.read_response()
            if reply[0] == b"pong" or (reply[0] == b"message" and reply[1] == beat_channel):
                left_at = beats.back(int(reply[-1]))
                if left_at is not None:
                    self._heard_at = left_at
            elif reply[0] == b"message" and reply[1] == channel:
                self._tell(reply[2].decode(errors="replace"))

    def _tell(self, message: str) -> None:
        self.heard += 1
        kind, _, text = message.partition(" ")
        for handler in self._handlers.get(kind, ()):
            try:
                handler(text)
            except Exception:  # noqa: BLE001  # one handler must not keep the others from hearing
                _log.exception("a handler of the feed failed at %s", kind)
