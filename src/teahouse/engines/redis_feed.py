"""The feed: what one node tells, every node hears (Redis Pub/Sub), and each node knows whether it still hears.

Pub/Sub forgets what nobody received. So whoever relies on the feed asks ``current`` first, and reads what was missed
from where it is kept when the feed has come back (``on_catch_up``).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from teahouse.engines.redis import Redis
from teahouse.problems import Problem

BEAT_SECONDS = 0.25
# What was told longer ago than this has been heard, or ``current`` is false.
STALE_SECONDS = 0.8
_LONGEST_PAUSE = 0.5

_log = logging.getLogger(__name__)


class Feed:
    """Short messages to every node: a kind (no space in it) and a text.

    Delivery: at most once, in order from one sender; a handler is called on the event loop and must not wait. A beat
    goes to the server and back four times a second: everything told before a beat left has been heard when it is back.
    """

    def __init__(self, redis: Redis, *, channel: str = "teahouse:feed") -> None:
        self._redis = redis
        self._channel = f"{channel}:{redis.database}"
        self._handlers: dict[str, list[Callable[[str], None]]] = {}
        self._hooks: list[Callable[[], Awaitable[None]]] = []
        self._caught_up = False
        self._heard_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.losses = 0

    @property
    def current(self) -> bool:
        """Whether everything that was told up to ``STALE_SECONDS`` ago has been heard and acted upon."""
        return self._caught_up and self._loop is not None and self._loop.time() - self._heard_at < STALE_SECONDS

    def on(self, kind: str, handler: Callable[[str], None]) -> None:
        """Calls the handler with the text of each message of that kind."""
        self._handlers.setdefault(kind, []).append(handler)

    def on_catch_up(self, hook: Callable[[], Awaitable[None]]) -> None:
        """Runs after each subscription, before ``current`` is true: reads what may have been missed."""
        self._hooks.append(hook)

    def publish(self, kind: str, text: str) -> asyncio.Future[Any]:
        """Tells every node, this one too. Await it to know that Redis has it; raises ``RedisUnavailable``."""
        return self._redis.call("PUBLISH", self._channel, f"{kind} {text}")

    @property
    def channel(self) -> str:
        """For scripts that tell in the same step."""
        return self._channel

    async def start(self) -> None:
        """Listens when this returns. Raises ``RedisUnavailable`` where that is not possible."""
        self._loop = asyncio.get_running_loop()
        first: asyncio.Future[None] = self._loop.create_future()
        self._task = self._loop.create_task(self._listen_on(first), name="feed")
        await first

    async def aclose(self) -> None:
        """Stops listening."""
        self._caught_up = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen_on(self, first: asyncio.Future[None]) -> None:
        while True:
            try:
                await self._listen(first)
            except (RedisError, OSError, TimeoutError, Problem) as error:
                self._caught_up = False
                if not first.done():
                    first.set_exception(error if isinstance(error, Problem) else self._redis.unavailable(error))
                    return
                self.losses += 1
                _log.warning("the feed is lost: %s", str(error) or type(error).__name__)
                await asyncio.sleep(random.uniform(0.05, _LONGEST_PAUSE))  # noqa: S311  # jitter, no secret

    async def _listen(self, first: asyncio.Future[None]) -> None:
        async with asyncio.timeout(self._redis.timeout_seconds):
            connection = await self._redis.dedicated()
        try:
            async with asyncio.timeout(self._redis.timeout_seconds):
                asked_at = asyncio.get_running_loop().time()
                await connection.send_command("SUBSCRIBE", self._channel, check_health=False)
                await connection.read_response()
                self._heard_at = asked_at
            async with asyncio.TaskGroup() as group:
                sent: deque[float] = deque()
                beating = group.create_task(self._beat(connection, sent), name="feed beats")
                group.create_task(self._catch_up(first), name="feed catches up")
                try:
                    await self._hear(connection, sent)
                finally:
                    beating.cancel()
        except BaseExceptionGroup as errors:
            # Whichever of the three failed first took the others along.
            raise errors.exceptions[0] from errors
        finally:
            self._caught_up = False
            await connection.disconnect(nowait=True)

    async def _catch_up(self, first: asyncio.Future[None]) -> None:
        for hook in self._hooks:
            await hook()
        self._caught_up = True
        if not first.done():
            first.set_result(None)

    async def _beat(self, connection: Connection, sent: deque[float]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sent.append(loop.time())
            await connection.send_command("PING", check_health=False)
            await asyncio.sleep(BEAT_SECONDS)
            if sent and loop.time() - sent[0] > 2 * STALE_SECONDS:
                raise TimeoutError("no beat came back")

    async def _hear(self, connection: Connection, sent: deque[float]) -> None:
        while True:
            reply = await connection.read_response()
            if reply[0] == b"message":
                self._tell(reply[2].decode())
            elif reply[0] == b"pong" and sent:
                self._heard_at = sent.popleft()

    def _tell(self, message: str) -> None:
        kind, _, text = message.partition(" ")
        for handler in self._handlers.get(kind, ()):
            try:
                handler(text)
            except Exception:  # noqa: BLE001  # one handler must not keep the others from hearing
                _log.exception("a handler of the feed failed at %s", kind)
