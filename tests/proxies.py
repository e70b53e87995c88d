"""A TCP proxy between a client and an engine, for what networks do: cut, delay, swallow, half-close.

It runs on an event loop in a thread of its own, so that it works while the test's loop is blocked. Every method may be
called from any thread and has happened when it returns.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

DEADLINE_SECONDS = 10.0
UP, DOWN = "up", "down"
_CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)

Value = TypeVar("Value")


class Link:
    """One client's connection: ``client`` and ``server`` are the proxy's two sockets."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self.client = client
        self.server = server
        self.ended: set[str] = set()

    def writer(self, way: str) -> asyncio.StreamWriter:
        return self.server if way == UP else self.client

    def reset(self) -> None:
        """Both ends learn of it by RST, as when a machine has gone."""
        for writer in (self.client, self.server):
            with suppress(OSError):  # closed already
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def close(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()

    async def pump(self, reader: asyncio.StreamReader, way: str) -> None:
        """Carries bytes one way until its sender stops, then tells the other end that it did."""
        writer = self.writer(way)
        while data := await reader.read(_CHUNK):
            if self._proxy.delays[way]:
                await asyncio.sleep(self._proxy.delays[way])
            if way in self._proxy.swallowed or way in self.ended:
                self._proxy.lost[way] += len(data)
                continue
            self._proxy.carried[way] += len(data)
            writer.write(data)
            await writer.drain()
            if self._proxy.cut_after[way] is not None and self._proxy.carried[way] >= self._proxy.cut_after[way]:
                self._proxy.cut_after[way] = None
                # What was carried arrives before the end does.
                self.client.close()
                self.server.close()
                return
        if way not in self._proxy.swallowed:
            self.end(way)

    def end(self, way: str) -> None:
        """Tells the receiver that no more comes that way; what its sender says from then on is lost."""
        self.ended.add(way)
        if self.writer(way).can_write_eof():
            self.writer(way).write_eof()


class Proxy:
    """Forwards ``host:port`` to a target. ``up`` is from the client to the server, ``down`` the other way.

    ``carried`` and ``lost`` count bytes each way; ``accepted`` counts connections.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.target = (host, port)
        self.host = "127.0.0.1"
        self.port = 0
        self.accepted = 0
        self.carried = {UP: 0, DOWN: 0}
        self.lost = {UP: 0, DOWN: 0}
        self.delays = {UP: 0.0, DOWN: 0.0}
        self.cut_after: dict[str, int | None] = {UP: None, DOWN: None}
        self.swallowed: set[str] = set()
        self._refusing = False
        self._links: set[Link] = set()
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def through(self, url: str) -> str:
        """The same URL with the proxy's address in it."""
        parts = urlsplit(url)
        who, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{who}{at}{self.host}:{self.port}"))

    # --- life ---

    def start(self) -> None:
        """Accepts when it returns."""
        self._thread.start()
        self._do(self._listen)

    def close(self) -> None:
        """Cuts everything and ends the thread."""
        self._do(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_SECONDS)
        self._loop.close()

    # --- faults ---

    def cut(self) -> None:
        """Resets every connection; new ones are accepted."""
        self._do(self._abort_all)

    def refuse(self) -> None:
        """Resets every connection and refuses new ones, until ``accept``."""
        self._do(self._refuse)

    def accept(self) -> None:
        """Takes connections again, on the same port."""
        self._do(self._listen)

    def swallow(self, *ways: str) -> None:
        """From now on bytes that way (``up``, ``down``; both when none is named) vanish; connections stay open."""
        self._do(lambda: self.swallowed.update(ways or (UP, DOWN)))

    def carry(self) -> None:
        """Ends ``swallow`` and ``delay``. What was swallowed stays lost, so what was open is of no use any more."""
        self._do(self._carry)

    def delay(self, seconds: float, *ways: str) -> None:
        """Holds each piece that long."""
        self._do(lambda: self.delays.update(dict.fromkeys(ways or (UP, DOWN), seconds)))

    def cut_when_carried(self, more: int, way: str) -> None:
        """Closes a connection as soon as so many bytes more have gone that way, which arrive."""
        self._do(lambda: self.cut_after.update({way: self.carried[way] + more}))

    def half_close(self, way: str) -> None:
        """Tells the receiver of every connection that no more comes that way; the other way goes on."""
        self._do(lambda: [link.end(way) for link in self._links])

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._links)

    # --- on the proxy's loop ---

    def _do(self, work: Callable[[], Value]) -> Value:
        async def there() -> Value:
            result = work()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(DEADLINE_SECONDS)

    def _listen(self) -> None:
        self._refusing = False
        if self._listener is None:
            self._listener = socket.create_server((self.host, self.port))
            self._listener.setblocking(False)
            self.port = self._listener.getsockname()[1]
            # asyncio's own server loses a connection that is accepted while it closes.
            self._loop.add_reader(self._listener, self._accept_one, self._listener)

    def _accept_one(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            client, _ = listener.accept()
            task = self._loop.create_task(self._serve(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _refuse(self) -> None:
        self._refusing = True
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self._abort_all()

    def _abort_all(self) -> None:
        for link in list(self._links):
            link.reset()

    def _carry(self) -> None:
        self.swallowed.clear()
        self.delays.update({UP: 0.0, DOWN: 0.0})

    async def _end(self) -> None:
        self._refuse()
        await _turns()  # what was accepted just now must have begun, to be ended
        self._abort_all()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await _turns()  # a transport closes its socket a turn after it was aborted

    async def _serve(self, client: socket.socket) -> None:
        self.accepted += 1
        reader, writer = await asyncio.open_connection(sock=client)
        try:
            await self._carry_between(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the connection is at its end, as a test wanted it or as its owner did
        finally:
            writer.transport.abort()

    async def _carry_between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection(*self.target)
        link = Link(self, writer, their_writer)
        for each in (writer, their_writer):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._links.add(link)
        try:
            if self._refusing:
                link.reset()
            await asyncio.gather(link.pump(reader, UP), link.pump(their_reader, DOWN))
        finally:
            link.close()
            self._links.discard(link)


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@contextmanager
def proxy_to(port: int, host: str = "127.0.0.1") -> Iterator[Proxy]:
    """A proxy that forwards to that port, until the block ends."""
    proxy = Proxy(port, host)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()
