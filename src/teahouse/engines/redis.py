"""The Redis engine: one shared connection, and the calls of one moment leave as one pipeline.

While one pipeline is under way the next one gathers (``batching.py``), so that a busy worker pays the socket once for
many calls. A connection that is lost is made anew in the background, with growing pauses; until then every call is
refused at once instead of waiting.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import NoScriptError, RedisError

from teahouse.batching import Batcher, FlushFailed
from teahouse.engines.redis_address import Address
from teahouse.engines.redis_cluster import ClusterPipe
from teahouse.engines.redis_pipes import Argument, Call, Pipe, SentinelPipe, ServerPipe
from teahouse.engines.redis_replies import outward, told, unavailable
from teahouse.problems import OutcomeUnknown, Problem, RedisUnavailable

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
# How often a connection is looked at that nobody uses, and how long one may be silent before it is asked.
_LOOK_SECONDS, _SILENT_SECONDS = 0.1, 1.0
_REACHES = (RedisError, OSError, TimeoutError, Problem)

_log = logging.getLogger(__name__)


class Script:
    """A Lua script, known to the server by the SHA-1 of its source (https://redis.io/docs/latest/commands/evalsha/)."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Redis:
    """One server, a Sentinel's primary or a Cluster, behind automatically pipelined connections, one to each server.

    ``url``: ``redis://``, ``unix://``, ``redis+sentinel://host:port,…/service/database`` or ``redis+cluster://``; with
    ``rediss`` for TLS. ``ValueError`` where it cannot be read.

    ``RedisUnavailable``: nothing was changed. ``OutcomeUnknown``: the call had left and no answer came. An error that
    the server replies with passes as redis-py's ``ResponseError``. A call is answered ``timeout_seconds`` after the
    last sign of the server at the latest.

    ``on_connect``: runs after each connection, also the first, while other calls leave already.
    """

    def __init__(
        self, url: str, *, name: str = "redis", timeout_seconds: float = 2.0, max_waiting: int = 10_000
    ) -> None:
        self.batcher: Batcher[Call, Any] = Batcher(self._flush, name=name, max_waiting=max_waiting)
        self.timeout_seconds = timeout_seconds
        self.on_connect: list[Callable[[], Awaitable[None]]] = []
        self.losses = 0
        self._address = Address(url, timeout_seconds)
        self._pipe: Pipe = _pipe_to(self._address, timeout_seconds)
        self._connected = False
        self._closed = False
        self._keeper: asyncio.Task[None] | None = None
        self._lost_one = asyncio.Event()
        # As the log was told it, and as callers are.
        self._logged = ""
        self._reason = "not connected yet"

    # --- life ---

    async def connect(self) -> None:
        """The first connection. Raises ``RedisUnavailable``; it may be called again then."""
        try:
            await self._connect()
            await self._hooks()
        except BaseException as error:
            self._connected = False
            await self._pipe.aclose()
            if isinstance(error, RedisUnavailable) or not isinstance(error, _REACHES):
                raise
            if isinstance(error, RedisUnavailable):
                raise
            # Whoever starts the program reads this, and needs to know where it looked.
            raise RedisUnavailable(f"Redis is out of reach: {told(error)}") from error
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="keep Redis connected")

    async def aclose(self) -> None:
        """Finishes what was accepted, and takes no more."""
        self._closed = True
        try:
            await self.batcher.aclose()
        finally:
            if self._keeper is not None:
                self._keeper.cancel()
                await asyncio.gather(self._keeper, return_exceptions=True)
            self._connected = False
            self._reason = "it was closed"
            await self._pipe.aclose()

    async def ping(self) -> None:
        """One trivial call, for readiness. Raises ``RedisUnavailable``."""
        try:
            await self.ask("PING")
        except OutcomeUnknown as error:
            raise RedisUnavailable(f"Redis is out of reach: {self._reason}") from error

    @property
    def incarnation(self) -> str:
        """Which run of which server this is: it changes when the server restarted or another took over."""
        return self._pipe.incarnation

    @property
    def connected(self) -> bool:
        """Whether a call would leave now."""
        return self._connected

    @property
    def address(self) -> str:
        """Where Redis is, for people: without a password."""
        return str(self._address)

    @property
    def database(self) -> str:
        """The number of the database within the server, as the URL has it."""
        return str(self._address.database)

    @property
    def clustered(self) -> bool:
        """Whether several primaries share the keys."""
        return self._address.kind == "cluster"

    async def dedicated(self) -> Connection:
        """A connection for one reader alone, such as a blocking read; the caller disconnects it.

        Raises what redis-py raises, ``TimeoutError`` and ``RedisUnavailable``.
        """
        return (await self.subscription())[0]

    async def subscription(self) -> tuple[Connection, str]:
        """``dedicated``, with the run id of the server at its other end: one of those in ``incarnation``."""
        async with asyncio.timeout(self.timeout_seconds):
            return await self._pipe.dedicated()

    @staticmethod
    def unavailable(error: BaseException) -> RedisUnavailable:
        """What went wrong below, as callers are told it."""
        return unavailable(error)

    # --- calls ---

    def call(self, *command: Argument) -> asyncio.Future[Any]:
        """One command; await the future for its reply: bytes, a number, None or a list of these.

        Raises ``RedisUnavailable`` at once while there is no connection, and ``Overloaded``.
        """
        if not self._connected:
            raise self._away()
        return self.batcher.submit(self._pipe.packed(command))

    def call_everywhere(self, *command: Argument) -> list[asyncio.Future[Any]]:
        """The command at each primary of a Cluster; at the one server otherwise."""
        if not self._connected:
            raise self._away()
        data, where = self._pipe.packed(command)
        return [self.batcher.submit((data, place)) for place in self._pipe.primaries or (where,)]

    async def ask(self, *command: Argument) -> Any:
        """``call`` and its reply; a flush that failed as a whole is told as ``OutcomeUnknown``."""
        try:
            return await self.call(*command)
        except FlushFailed as failure:
            raise OutcomeUnknown from failure

    async def send(self, *command: Argument) -> Any:
        """``ask`` for a command that is the batch of many callers already: it leaves at once, as its own pipeline.

        It must not be cancelled: the connection is given up then.
        """
        if not self._connected:
            raise self._away()
        (reply,) = await self._flush([self._pipe.packed(command)])
        if isinstance(reply, BaseException):
            raise reply
        return reply

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """A script's reply. A server that does not know the script yet is told it."""
        try:
            return await self.ask("EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await self.ask("EVAL", script.source, len(keys), *keys, *args)

    async def send_script(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """``run`` in the manner of ``send``."""
        try:
            return await self.send("EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await self.send("EVAL", script.source, len(keys), *keys, *args)

    # --- one pipeline ---

    async def _flush(self, calls: list[Call]) -> Sequence[Any]:
        if not self._connected:
            return [self._away() for _ in calls]
        try:
            return await self._pipe.exchange(calls)
        finally:
            if self._pipe.failure is not None:
                self._lost(self._pipe.failure)

    def _away(self) -> RedisUnavailable:
        return RedisUnavailable(f"Redis is out of reach: {self._reason}")

    # --- the connection ---

    def _lost(self, error: BaseException) -> None:
        if not self._connected:
            return
        self._connected = False
        self.losses += 1
        self._logged, self._reason = told(error), outward(error)
        self._lost_one.set()
        _log.warning("the connection to Redis is lost: %s", self._logged)

    async def _keep(self) -> None:
        """Looks after the connection, as long as there is one, and makes a new one otherwise."""
        while True:
            try:
                if self._connected:
                    await self._watch()
                else:
                    await self._reconnect()
            except Exception as error:  # noqa: BLE001  # whatever it was, the next attempt comes
                _log.exception("keeping the connection to Redis failed")
                self._lost(error)
                await asyncio.sleep(_LONGEST_PAUSE)

    async def _watch(self) -> None:
        flushes, silent = -1, 0.0
        while not self._lost_one.is_set():
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._lost_one.wait()
            except TimeoutError:
                silent = 0.0 if flushes != self.batcher.sizes.flushes else silent + _LOOK_SECONDS
                flushes = self.batcher.sizes.flushes
                if not self._pipe.alive():
                    self._lost(self._pipe.failure or ConnectionError())
                elif silent >= _SILENT_SECONDS and not self.batcher.waiting and not self._closed:
                    # A connection that a firewall forgot looks alive: better that nobody's purchase finds it out.
                    await asyncio.gather(*self.call_everywhere("PING"), return_exceptions=True)
                    silent = 0.0

    async def _reconnect(self) -> None:
        pause = _FIRST_PAUSE
        while not self._connected:
            try:
                await self._pipe.aclose()
                await self._connect()
            except _REACHES as error:
                if told(error) != self._logged:
                    _log.warning("Redis is out of reach: %s", told(error))
                self._logged, self._reason = told(error), outward(error)
                # With jitter, so that the workers of a shop do not come back all at once.
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
                pause = min(pause * 2, _LONGEST_PAUSE)
        _log.warning("connected to Redis again")
        try:
            await self._hooks()
        except _REACHES as error:
            # Lost again in the middle of them: they run after the next connection. Anything else counts as lost too.
            self._lost(error)

    async def _connect(self) -> None:
        async with asyncio.timeout(self.timeout_seconds):
            await self._pipe.connect()
        self._lost_one.clear()
        self._connected = True

    async def _hooks(self) -> None:
        for hook in self.on_connect:
            await hook()


def _pipe_to(address: Address, timeout_seconds: float) -> Pipe:
    if address.kind == "cluster":
        return ClusterPipe(address, timeout_seconds)
    if address.kind == "sentinel":
        return SentinelPipe(address, timeout_seconds)
    return ServerPipe(address, timeout_seconds)
