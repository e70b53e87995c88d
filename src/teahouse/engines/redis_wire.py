"""One connection to one server: a pipeline goes out in one write, and its replies are parsed as they arrive.

redis-py opens, encrypts and authenticates; from there on the bytes are read here, by hiredis and without a task, which
costs a reply a tenth of what it costs through redis-py's own reader.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
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


class _Exchange:
    """A pipeline that has left: the replies that came, how many are to come, and who waits for the last."""

    __slots__ = ("began", "replies", "waiter", "wanted")

    def __init__(self, wanted: int, began: float, waiter: asyncio.Future[None]) -> None:
        self.wanted = wanted
        self.began = began
        self.waiter = waiter
        self.replies: list[Any] = []

    def wake(self) -> None:
        if not self.waiter.done():
            self.waiter.set_result(None)


class Wire(asyncio.Protocol):
    """Takes over a connection that redis-py has opened. The server answers exchanges in the order they left in.

    ``failure`` says why it cannot be used (any more); it is None while it can.
    """

    def __init__(self, connection: Connection, timeout_seconds: float) -> None:
        self.failure: Exception | None = None
        self._connection = connection
        self._timeout = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._parser: Any = hiredis.Reader(replyError=self._error, notEnoughData=_NOT_YET)
        self._under_way: deque[_Exchange] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._moved = 0.0
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
        exchange = _Exchange(count, self._loop.time(), self._loop.create_future())
        if not self._under_way:
            self._moved, self._overdue = exchange.began, False
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._look)
        self._under_way.append(exchange)
        self._transport.write(pipeline)
        self._unsent = self._transport.get_write_buffer_size()
        if self.failure is not None:
            self._wake_all()
        try:
            await exchange.waiter
        except BaseException:
            # Its replies are still on their way, and nobody will take them.
            self._fail(RedisConnectionError("the connection was given up in the middle of a pipeline"))
            raise
        return exchange.replies

    async def aclose(self) -> None:
        """Hangs up."""
        self._fail(RedisConnectionError("the connection was closed"))
        await self._connection.disconnect(nowait=True)

    # --- asyncio.Protocol ---

    def data_received(self, data: bytes) -> None:
        """Takes whole replies out of what has come."""
        self._moved = self._loop.time()
        gets, under_way = self._parser.gets, self._under_way
        try:
            self._parser.feed(data)
            while (reply := gets()) is not _NOT_YET:
                if not under_way:
                    self._fail(RedisConnectionError("a reply came that nobody had asked for"))
                    return
                exchange = under_way[0]
                exchange.replies.append(reply)
                if len(exchange.replies) == exchange.wanted:
                    under_way.popleft()
                    exchange.wake()
        except (hiredis.ProtocolError, MemoryError) as error:
            self._fail(RedisConnectionError(f"what came is no reply of Redis: {error}"))

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
        self._timer = None
        if not self._under_way:
            return
        now, unsent = self._loop.time(), self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._moved = now
        self._unsent = unsent
        due = min(self._moved + self._timeout, self._under_way[0].began + _PATIENCE * self._timeout)
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
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()
        self._wake_all()

    def _wake_all(self) -> None:
        while self._under_way:
            self._under_way.popleft().wake()
