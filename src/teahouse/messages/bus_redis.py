"""The bus of many nodes: Redis Pub/Sub. What it loses the store has; here it is only known that something was lost.

Sharded Pub/Sub (https://redis.io/docs/latest/develop/pubsub/#sharded-pubsub) where one Redis 7 keeps everything. In a
Cluster the plain kind, which reaches every node of it over one connection: the sharded one would take a connection to
each primary, and new ones whenever slots move.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable, Collection
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from teahouse.engines.redis import Redis
from teahouse.engines.redis_feed import BEAT_SECONDS, STALE_SECONDS, Beats
from teahouse.engines.redis_replies import told
from teahouse.engines.redis_subscription import Subscription
from teahouse.messages.bus import Receive
from teahouse.messages.bus_publishing_redis import Publishing
from teahouse.messages.bus_topics_redis import PLAIN, SHARDED, Topics, Words
from teahouse.problems import Problem, RedisUnavailable

_LONGEST_PAUSE = 0.5
# After a loop that was held up, beats that have come back wait to be read: they get this long.
_GRACE_SECONDS = 0.05
_EXPECTED = (RedisError, OSError, TimeoutError, Problem)

_log = logging.getLogger(__name__)


class RedisBus:
    """A ``Bus`` over one connection that listens and the shared one that publishes.

    It beats as the feed does (``engines/redis_feed.py``): what was published before a beat left has been received when
    the beat is back. One that does not come back, or a new server, means a new subscription to everything, and then
    ``losses`` rises. It rises on every node where one of them could not publish.
    """

    def __init__(self, redis: Redis, *, name: str = "teahouse:bus") -> None:
        self.losses = 0
        self._redis = redis
        self._prefix = f"{name}:{redis.database}:".encode()
        # No topic of anybody's: here it is told that something was lost.
        self._loss_channel = self._prefix + b"!"
        self._beat_channel = self._prefix + b"!" + uuid.uuid4().hex.encode()
        self._words = PLAIN
        self._receive: Receive | None = None
        self._hook: Callable[[], None] | None = None
        self._topics = Topics(self._prefix)
        self._publishing = Publishing(redis, self._prefix, self._loss_channel)
        self._beats = Beats()
        self._heard_at = 0.0
        self._run_id = ""
        self._up = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def current(self) -> bool:
        """See ``Bus``."""
        return (
            self._up
            and asyncio.get_running_loop().time() - self._heard_at < STALE_SECONDS
            # Where another server has taken over, this one may still beat, but nobody publishes there.
            and self._run_id in self._redis.incarnation
        )

    @property
    def waiting(self) -> int:
        """Texts that wait to be published."""
        return self._publishing.waiting

    def on_receive(self, receive: Receive) -> None:
        """See ``Bus``."""
        self._receive = receive

    def on_loss(self, hook: Callable[[], None]) -> None:
        """See ``Bus``."""
        self._hook = hook

    async def subscribe(self, topics: Collection[str]) -> None:
        """See ``Bus``."""
        self._topics.add(topics)
        if not self._up:
            raise RedisUnavailable("The bus between the nodes is connecting again.")
        await self._topics.confirmation()

    def unsubscribe(self, topics: Collection[str]) -> None:
        """See ``Bus``."""
        self._topics.remove(topics)

    def publish(self, topic: str, text: bytes) -> None:
        """See ``Bus``."""
        self._publishing.add(topic, text)

    async def sent(self) -> None:
        """See ``Bus``."""
        await self._publishing.idle.wait()

    # --- life ---

    async def start(self) -> None:
        """See ``Bus``."""
        loop = asyncio.get_running_loop()
        first: asyncio.Future[None] = loop.create_future()
        self._tasks.append(loop.create_task(self._listen_on(first), name="bus"))
        try:
            await first
        except BaseException:
            await self._stop()
            raise
        self._tasks.append(loop.create_task(self._publishing.run(), name="publish on the bus"))

    async def aclose(self) -> None:
        """See ``Bus``."""
        await self._publishing.aclose()
        await self._stop()

    async def _stop(self) -> None:
        self._up = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen_on(self, first: asyncio.Future[None]) -> None:
        while True:
            try:
                await self._listen(first)
            except Exception as error:  # noqa: BLE001  # whatever it was, this node must hear again
                foreseen = isinstance(error, _EXPECTED)
                if not first.done():
                    first.set_exception(self._redis.unavailable(error) if foreseen else error)
                    return
                if foreseen:
                    _log.warning("the bus between the nodes is lost: %s", told(error))
                else:
                    _log.exception("the bus between the nodes is lost")
                await asyncio.sleep(random.uniform(0.05, _LONGEST_PAUSE))  # noqa: S311  # jitter, no secret

    async def _listen(self, first: asyncio.Future[None]) -> None:
        connection, self._run_id = await self._redis.subscription()
        try:
            self._words = self._publishing.words = await self._kind(connection)
            link = Subscription(connection, self._take)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        try:
            await self._serve(link, first)
        except BaseExceptionGroup as errors:
            # Whichever of them failed first took the others along.
            raise errors.exceptions[0] from errors
        finally:
            self._up = False
            self._topics.lost(RedisUnavailable("The bus between the nodes was lost."))
            await link.aclose()

    async def _kind(self, connection: Connection) -> Words:
        if self._redis.clustered:
            return PLAIN
        async with asyncio.timeout(self._redis.timeout_seconds):
            await connection.send_command("INFO", "server", check_health=False)
            facts: bytes = await connection.read_response()
        version = facts.partition(b"redis_version:")[2].partition(b".")[0]
        return SHARDED if version.isdigit() and int(version) >= 7 else PLAIN

    async def _serve(self, link: Subscription, first: asyncio.Future[None]) -> None:
        self._beats = Beats()
        link.send((self._words.subscribe, self._loss_channel))
        if self._redis.clustered:
            link.send((self._words.subscribe, self._beat_channel))
        self._heard_at = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            group.create_task(_until(link), name="bus is lost")
            # The topics of before, in bounded parcels, each confirmed.
            self._topics.again()
            await self._topics.settle(link, self._words, self._redis.timeout_seconds)
            self._up = True
            if first.done():
                self._lose()
            else:
                first.set_result(None)
            group.create_task(self._topics.keep(link, self._words, self._redis.timeout_seconds), name="bus topics")
            group.create_task(self._beat(link), name="bus beats")

    def _lose(self) -> None:
        self.losses += 1
        if self._hook is not None:
            self._hook()

    # --- what comes ---

    def _take(self, reply: Any) -> None:
        kind = reply[0]
        if kind == self._words.pushed:
            channel = reply[1]
            if channel == self._loss_channel:
                self._lose()
            elif channel == self._beat_channel:
                self._back(int(reply[2]))
            elif self._receive is not None:
                self._receive(channel[len(self._prefix) :].decode(), reply[2])
        elif kind == b"pong":
            mark, number = reply[1][:1], int(reply[1][1:])
            if mark == b"t":
                self._topics.confirmed(number)
            else:
                self._back(number)

    # --- beats ---

    def _back(self, number: int) -> None:
        left_at = self._beats.back(number)
        if left_at is not None:
            self._heard_at = left_at

    async def _beat(self, link: Subscription) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._redis.clustered:
                number = self._beats.next()
                self._beats.sent(number, loop.time(), 1)
                link.send(("PING", f"b{number}"))
            else:
                await self._beat_everywhere()
            await asyncio.sleep(BEAT_SECONDS)
            if loop.time() - self._heard_at > 2 * STALE_SECONDS:
                await asyncio.sleep(_GRACE_SECONDS)
                if loop.time() - self._heard_at > 2 * STALE_SECONDS:
                    raise TimeoutError
            if self._redis.connected and self._run_id not in self._redis.incarnation:
                raise RedisConnectionError("another server has taken over")

    async def _beat_everywhere(self) -> None:
        number = self._beats.next()
        try:
            calls = self._redis.call_everywhere(PLAIN.publish, self._beat_channel, number)
        except Problem:
            # A beat that does not leave does not come back, which says it all.
            return
        self._beats.sent(number, asyncio.get_running_loop().time(), len(calls))
        async with asyncio.timeout(STALE_SECONDS):
            await asyncio.gather(*calls, return_exceptions=True)


async def _until(link: Subscription) -> None:
    await link.lost
