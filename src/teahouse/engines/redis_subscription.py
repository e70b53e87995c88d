"""One connection that listens: what the server pushes is handed on as it arrives, without a task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

from teahouse.engines.redis_pipes import Command, packed

_NOT_YET = object()


class Subscription(asyncio.Protocol):
    """Takes over a connection that redis-py has opened and greeted, before anything is subscribed on it.

    ``take(reply)`` is called with each reply and push in the form of RESP2, texts as bytes, and must not wait; where it
    raises, the connection is given up. ``lost`` fails with why nothing comes any more.
    """

    def __init__(self, connection: Connection, take: Callable[[Any], None]) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._take = take
        self._parser: Any = hiredis.Reader(notEnoughData=_NOT_YET)
        writer = connection._writer  # noqa: SLF001  # redis-py has no public way to the transport it opened
        if writer is None:
            raise RedisConnectionError("the connection was closed")
        self._transport: asyncio.WriteTransport = writer.transport
        self._transport.set_protocol(self)

    def send(self, *commands: Command) -> None:
        """Leaves at once; whoever sends much waits for the replies in between."""
        self._transport.write(b"".join([packed(command) for command in commands]))

    async def aclose(self) -> None:
        """Hangs up."""
        self._fail(RedisConnectionError("the connection was closed"))
        await self._connection.disconnect(nowait=True)

    # --- asyncio.Protocol ---

    def data_received(self, data: bytes) -> None:
        """Takes whole replies out of what has come."""
        gets, take = self._parser.gets, self._take
        try:
            self._parser.feed(data)
            while (reply := gets()) is not _NOT_YET:
                if isinstance(reply, Exception):
                    self._fail(RedisConnectionError(f"Redis answers {reply}"))
                    return
                take(reply)
        except hiredis.ProtocolError as error:
            self._fail(RedisConnectionError(f"what came is no reply of Redis: {error}"))
        except Exception as error:  # noqa: BLE001  # whoever waits for ``lost`` is told
            self._fail(error)

    def eof_received(self) -> None:
        """The server says no more."""
        self._fail(RedisConnectionError("the server closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._fail(exc or RedisConnectionError("the connection was closed"))

    def _fail(self, error: Exception) -> None:
        if not self.lost.done():
            self.lost.set_exception(error)
            # Whether somebody waits for it or not.
            self.lost.exception()
        self._transport.abort()
