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
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from teahouse.batching import Batcher, FlushFailed
from teahouse.engines.redis_pipes import Argument, Command, Pipe, pipe_to
from teahouse.problems import OutcomeUnknown, RedisUnavailable

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
# Replies of a server that is there and cannot serve now; the command was not carried out.
_NOT_NOW = (
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOAUTH",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNKILLABLE",
)
# After these another server may be the right one.
_ELSEWHERE = ("READONLY", "MASTERDOWN")

_log = logging.getLogger(__name__)


class Script:
    """A Lua script, known to the server by the SHA-1 of its source (https://redis.io/docs/latest/commands/evalsha/)."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Redis:
    """One server, a Sentinel's primary or a Cluster, behind one automatically pipelined connection.

    ``url``: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://host:port,…/name/db`` or ``redis+cluster://``.

    ``RedisUnavailable``: nothing was changed. ``OutcomeUnknown``: the call had left and no answer came. An error that
    the server replies with passes as redis-py's ``ResponseError``.
    """

    def __init__(
        self, url: str, *, name: str = "redis", timeout_seconds: float = 2.0, max_waiting: int = 10_000
    ) -> None:
        self.batcher: Batcher[Command, Any] = Batcher(self._flush, name=name, max_waiting=max_waiting)
        self.url = url
        self.timeout_seconds = timeout_seconds
        self._pipe: Pipe = pipe_to(url, timeout_seconds)
        self._connected = False
        self._reconnecting: asyncio.Task[None] | None = None
        self._reason = "not connected yet"

    # --- life ---

    async def connect(self) -> None:
        """The first connection. Raises ``RedisUnavailable``."""
        try:
            await self._pipe.connect()
        except (RedisError, OSError, TimeoutError) as error:
            raise _unavailable(error) from error
        self._connected = True

    async def aclose(self) -> None:
        """Finishes what was accepted, and takes no more."""
        await self.batcher.aclose()
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.gather(self._reconnecting, return_exceptions=True)
        self._connected = False
        await self._pipe.aclose()

    async def ping(self) -> None:
        """One trivial call, for readiness. Raises ``RedisUnavailable``."""
        await self.ask("PING")

    @property
    def incarnation(self) -> str:
        """Which run of which server this is: it changes when the server restarted or another took over."""
        return self._pipe.incarnation

    @property
    def connected(self) -> bool:
        """Whether a call would leave now."""
        return self._connected

    @property
    def database(self) -> str:
        """The number of the database within the server, as the URL has it."""
        path = urlsplit(self.url).path.rpartition("/")[2]
        return path if path.isdigit() else "0"

    async def dedicated(self) -> Connection:
        """A connection for one reader alone, such as a subscription; the caller disconnects it."""
        return await self._pipe.dedicated()

    @staticmethod
    def unavailable(error: BaseException) -> RedisUnavailable:
        """What went wrong below, as callers are told it."""
        return _unavailable(error)

    # --- calls ---

    def call(self, *command: Argument) -> asyncio.Future[Any]:
        """One command; await the future for its reply: bytes, a number, None or a list of these.

        Raises ``RedisUnavailable`` at once while there is no connection, and ``Overloaded``.
        """
        if not self._connected:
            raise RedisUnavailable(f"Redis is out of reach: {self._reason}")
        return self.batcher.submit(command)

    async def ask(self, *command: Argument) -> Any:
        """``call`` and its reply; a flush that failed as a whole is told as ``OutcomeUnknown``."""
        try:
            return await self.call(*command)
        except FlushFailed as failure:
            raise OutcomeUnknown from failure

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """A script's reply. A server that does not know the script yet is told it."""
        try:
            return await self.ask("EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await self.ask("EVAL", script.source, len(keys), *keys, *args)

    # --- one pipeline ---

    async def _flush(self, commands: list[Command]) -> Sequence[Any]:
        if not self._connected:
            return [RedisUnavailable(f"Redis is out of reach: {self._reason}") for _ in commands]
        try:
            async with asyncio.timeout(self.timeout_seconds):
                replies = await self._pipe.exchange(commands)
        except (RedisError, OSError, TimeoutError) as error:
            self._lost(error)
            return [OutcomeUnknown() for _ in commands]
        except BaseException:
            # Replies may still be on their way: this connection cannot be used again.
            self._lost(RedisConnectionError("the connection was given up in the middle of a pipeline"))
            raise
        return [self._translated(reply) if isinstance(reply, ResponseError) else reply for reply in replies]

    def _translated(self, error: ResponseError) -> Exception:
        code = str(error).partition(" ")[0]
        if isinstance(error, NoScriptError) or code not in _NOT_NOW:
            return error
        if code in _ELSEWHERE:
            self._lost(error)
        return RedisUnavailable(f"Redis answers: {code}")

    def _lost(self, error: BaseException) -> None:
        if not self._connected:
            return
        self._connected = False
        self._reason = _told(error)
        _log.warning("the connection to Redis is lost: %s", self._reason)
        self._reconnecting = asyncio.get_running_loop().create_task(self._reconnect(), name="reconnect to Redis")

    async def _reconnect(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._pipe.aclose()
                async with asyncio.timeout(self.timeout_seconds):
                    await self._pipe.connect()
            except (RedisError, OSError, TimeoutError) as error:
                self._reason = _told(error)
                # With jitter, so that the workers of a shop do not come back all at once.
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._connected = True
                _log.warning("connected to Redis again")
                return


def _unavailable(error: BaseException) -> RedisUnavailable:
    return RedisUnavailable(f"Redis is out of reach: {_told(error)}")


def _told(error: BaseException) -> str:
    # A time-out has no words of its own.
    if isinstance(error, TimeoutError | RedisTimeout):
        return "no answer in time"
    return str(error) or type(error).__name__
