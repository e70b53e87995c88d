"""One connection to one server: a pipeline goes out in one write, and its replies are parsed as they arrive.

redis-py opens, encrypts and authenticates; from there on the bytes are read here, by hiredis and without a task, which
costs a reply a tenth of what it costs through redis-py's own reader.
"""

from __future__ import annotations

import asyncio
import select
from typing import Any

import hiredis
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

from teahouse.engines.redis_replies import ELSEWHERE, code_of, error_of

# A pipeline that moves on slowly may take this many time-outs altogether.
_PATIENCE = 10
# Bytes that have arrived while the loop was held up count as arrived in time.
_GRACE_SECONDS = 0.02
_NOT_YET = object()


class Wire(asyncio.Protocol):
    """Takes over a connection that redis-py has opened. One exchange at a time.

    ``failure`` says why it cannot be used (any more); it is None while it can.
    """

    def __init__(self, connection: Connection, timeout_seconds: float) -> None:
        self.failure: Exception | None = None
        self._connection = connection
        self._timeout = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._parser: Any = hiredis.Reader(replyError=self._error, notEnoughData=_NOT_YET)
        self._replies: list[Any] = []
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._began = self._moved = 0.0
        self._unsent = 0
        self._overdue = False
        writer = connection._writer  # noqa: SLF001  # redis-py has no public way to the transport it opened
        if writer is None:
            raise RedisConnectionError("the connection was closed")
        self._transport: asyncio.WriteTransport = writer.transport
        self._transport.set_protocol(self)
        self._hang_up = select.poll()
        self._hang_up.register(self._transport.get_extra_info("socket").fileno(), select.POLLRDHUP)

    def alive(self) -> bool:
        """Whether the server still holds its end, as far as this machine has heard; asks the kernel, not the loop."""
        if self.failure is None and (self._transport.is_closing() or self._hang_up.poll(0)):
            self._fail(RedisConnectionError("the server closed the connection"))
        return self.failure is None

    async def exchange(self, pipeline: bytes, count: int) -> list[Any]:
        """The replies to a pipeline of ``count`` commands; an error reply is an exception in the list.

        Fewer than ``count`` came where the wire failed meanwhile; the other commands may have been carried out.
        The time-out starts anew whenever something arrives, up to ten of them.
        """
        self._wanted = count
        self._replies = []
        self._began = self._moved = self._loop.time()
        self._overdue = False
        self._transport.write(pipeline)
        self._unsent = self._transport.get_write_buffer_size()
        self._waiter = self._loop.create_future()
        self._timer = self._loop.call_later(self._timeout, self._look)
        try:
            if self.failure is None:
                await self._waiter
        except BaseException:
            # Its replies are still on their way, and nobody will take them.
            self._fail(RedisConnectionError("the connection was given up in the middle of a pipeline"))
            raise
        finally:
            self._timer.cancel()
            self._waiter = None
            self._wanted = 0
        return self._replies

    async def aclose(self) -> None:
        """Hangs up."""
        self._fail(RedisConnectionError("the connection was closed"))
        await self._connection.disconnect(nowait=True)

    # --- asyncio.Protocol ---

    def data_received(self, data: bytes) -> None:
        """Takes whole replies out of what has come."""
        self._moved = self._loop.time()
        gets = self._parser.gets
        try:
            self._parser.feed(data)
            while (reply := gets()) is not _NOT_YET:
                self._replies.append(reply)
        except (hiredis.ProtocolError, MemoryError) as error:
            self._fail(RedisConnectionError(f"what came is no reply of Redis: {error}"))
            return
        if len(self._replies) > self._wanted:
            self._fail(RedisConnectionError("a reply came that nobody had asked for"))
        elif len(self._replies) == self._wanted:
            self._wake()

    def eof_received(self) -> None:
        """The server says no more."""
        self._fail(RedisConnectionError("the server closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._fail(exc or RedisConnectionError("the connection was closed"))

    # --- failing ---

    def _error(self, text: str) -> Exception:
        if code_of(text) in ELSEWHERE and self.failure is None:
            # The replies of this pipeline are still taken; the next one goes over a new connection.
            self.failure = error_of(text)
        return error_of(text)

    def _look(self) -> None:
        now, unsent = self._loop.time(), self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._moved = now
        self._unsent = unsent
        due = min(self._moved + self._timeout, self._began + _PATIENCE * self._timeout)
        if now < due:
            self._overdue = False
            self._timer = self._loop.call_at(due, self._look)
        elif not self._overdue:
            self._overdue = True
            self._timer = self._loop.call_later(_GRACE_SECONDS, self._look)
        else:
            self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        if self.failure is None:
            self.failure = error
        self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
