"""A live server on loopback, a client that writes raw bytes, and a strict reader of answers."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from teahouse.web import App, Limits
from teahouse.web.server import Server

DEADLINE = 10.0


@dataclass
class Reply:
    """One answer as it stood on the wire; ``fields`` keeps every header in order."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes = b""

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.fields)

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def problem(self) -> str:
        """The slug of the problem; raises where the answer is none."""
        assert self.headers["content-type"] == "application/problem+json", self
        document = self.json()
        assert document["status"] == self.status
        return document["type"].removeprefix("/problems/")


class Wire:
    """A client connection that says exactly what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def half_close(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        """Ends the connection with a RST, as a phone that lost its network may."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.transport.abort()

    async def reply(self, *, head_only: bool = False) -> Reply:
        """The next answer, interim ones included. Raises ``IncompleteReadError`` where the connection ends first."""
        async with asyncio.timeout(DEADLINE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head[:-4].split("\r\n")
            version, status, _reason = status_line.split(" ", 2)
            assert version == "HTTP/1.1"
            fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
            reply = Reply(int(status), fields)
            length = int(reply.headers.get("content-length", "0"))
            if length and not head_only:
                reply.body = await self.reader.readexactly(length)
            return reply

    async def replies(self, count: int) -> list[Reply]:
        return [await self.reply() for _ in range(count)]

    async def all(self) -> list[Reply]:
        """Every answer until the server ends the connection; nothing else may stand between or after them."""
        found = []
        while not await self.at_end():
            found.append(await self.reply())
        return found

    async def at_end(self) -> bool:
        """Waits for the next byte or the end; true for an end. A reset is an error."""
        async with asyncio.timeout(DEADLINE):
            byte = await self.reader.read(1)
        if byte:
            self.reader._buffer[:0] = byte
        return not byte

    async def ended(self) -> bool:
        """Reads to the end, whichever way it comes."""
        async with asyncio.timeout(DEADLINE):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass
            return True


@dataclass
class Live:
    """A server that listens on loopback."""

    server: Server
    port: int
    wires: list[Wire] = field(default_factory=list)
    escaped: list[dict[str, Any]] = field(default_factory=list)

    async def connect(self) -> Wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=64 * 1024 * 1024)
        wire = Wire(reader, writer)
        self.wires.append(wire)
        return wire

    async def ask(self, data: bytes, *, head_only: bool = False) -> Reply:
        """One request on a connection of its own."""
        wire = await self.connect()
        wire.send(data)
        reply = await wire.reply(head_only=head_only)
        wire.close()
        return reply

    async def exchange(self, data: bytes, *, half_close: bool = False) -> list[Reply]:
        """Sends bytes, then reads answers until the server ends the connection."""
        wire = await self.connect()
        wire.send(data)
        if half_close:
            wire.half_close()
        found = await wire.all()
        wire.close()
        return found

    async def ticks(self, count: int) -> None:
        """Lets that many server ticks pass at once: deadlines come without waiting for them."""
        for _ in range(count):
            self.server.tick += 1
            for connection in list(self.server._connections):
                connection.sweep(self.server.tick, 0.25)
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(app: App, *, own_ticks: bool = False, **options: Any) -> AsyncIterator[Live]:
    """Serves the app on a free port; fails where an exception escaped into the event loop.

    With ``own_ticks`` time only passes through ``Live.ticks``.
    """
    escaped: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: escaped.append(context))
    server = Server(app, **options)
    await app.startup()
    port = await server.start("127.0.0.1", 0)
    if own_ticks:
        server._ticker.cancel()
    live = Live(server, port, escaped=escaped)
    try:
        yield live
    finally:
        for wire in live.wires:
            wire.close()
        await server.stop(2.0)
        await app.shutdown(2.0)
        await server.log.aclose()
    await asyncio.sleep(0)
    assert escaped == [], escaped


async def eventually(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Polls until the condition holds; fails at the deadline."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "did not happen in time"
        await asyncio.sleep(0.002)


def request(method: str, target: str, *fields: str, body: bytes | None = None, host: bool = True) -> bytes:
    """A well-formed request; ``fields`` are whole header lines."""
    lines = [f"{method} {target} HTTP/1.1", *(["Host: tea.example"] if host else []), *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def get(target: str, *fields: str) -> bytes:
    return request("GET", target, *fields)


def post(target: str, body: bytes, *fields: str) -> bytes:
    return request("POST", target, "Content-Type: application/json", *fields, body=body)


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    """A chunked body (RFC 9112 §7.1)."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"


def small_limits(**changes: Any) -> Limits:
    """Limits that a test can reach."""
    return Limits(**{"head_bytes": 4096, "body_bytes": 4096, **changes})
