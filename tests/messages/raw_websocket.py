"""A WebSocket client that says exactly what it is told to, well-formed or not."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

DEADLINE = 10.0

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class Frame(NamedTuple):
    """One frame as it came."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2], "big")

    def json(self) -> Any:
        assert self.opcode == TEXT, self
        return msgspec.json.decode(self.payload)


@dataclass
class Answer:
    """The head of the answer to an upgrade, and the body of a refusal."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def problem(self) -> str:
        assert self.headers["content-type"] == "application/problem+json", self
        document = msgspec.json.decode(self.body)
        assert document["status"] == self.status
        return document["type"].removeprefix("/problems/")


def encode(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True, length: int | None = None
) -> bytes:
    """One frame's bytes; ``length`` lies about the payload's."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    size = len(payload) if length is None else length
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    stretched = (mask * (len(payload) // 4 + 1))[: len(payload)]
    covered = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return head + mask + covered.to_bytes(len(payload), "big")


def closing(code: int, reason: bytes = b"") -> bytes:
    """A close frame."""
    return encode(CLOSE, code.to_bytes(2, "big") + reason)


def upgrade(
    *fields: str, method: str = "GET", target: str = "/message", token: str | None = "ann", drop: tuple[str, ...] = ()
) -> bytes:
    """A request to upgrade; ``fields`` come on top, those named in ``drop`` are left out."""
    lines = {
        "Host": "tea.example",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
    }
    if token is not None:
        lines["Authorization"] = f"Bearer {token}"
    given = [f"{name}: {value}" for name, value in lines.items() if name not in drop]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *given, *fields, "", ""]).encode("latin-1")


@dataclass
class RawSocket:
    """A connection to the gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answer: Answer | None = None
    seen: list[Frame] = field(default_factory=list)

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int | None = None) -> RawSocket:
        """A connection on which nothing was said yet."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(sock=sock, limit=4096 if receive_buffer else 2**20)
        return cls(reader, writer)

    async def upgrade(self, *fields: str, **how: Any) -> Answer:
        """Asks for the upgrade and reads the answer."""
        self.write(upgrade(*fields, **how))
        return await self.read_answer()

    async def read_answer(self) -> Answer:
        async with asyncio.timeout(DEADLINE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head[:-4].split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            self.answer = Answer(int(status_line.split(" ")[1]), headers)
            self.answer.body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return self.answer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def text(self, payload: str | bytes) -> None:
        self.write(encode(TEXT, payload.encode() if isinstance(payload, str) else payload))

    def say(self, **frame: Any) -> None:
        """One frame of the contract."""
        self.text(msgspec.json.encode(frame))

    async def frame(self) -> Frame:
        """The next frame. Raises ``IncompleteReadError`` where the connection ends first."""
        async with asyncio.timeout(DEADLINE):
            first, second = await self.reader.readexactly(2)
            assert first & 0x70 == 0, "a reserved bit is set"
            assert first & 0x80, "the gateway sends no fragments"
            assert second & 0x80 == 0, "the gateway masks nothing"
            size = second
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
                assert size >= 126
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
                assert size >= 65536
            found = Frame(first & 0x0F, await self.reader.readexactly(size))
        self.seen.append(found)
        return found

    async def json(self) -> Any:
        """The next frame, which is one of the contract."""
        return (await self.frame()).json()

    async def close_code(self) -> int:
        """Reads on to the close frame, answers it and waits for the end of the connection."""
        while (found := await self.frame()).opcode != CLOSE:
            pass
        self.write(encode(CLOSE, found.payload[:2]))
        await self.at_end()
        return found.code

    async def at_end(self) -> None:
        """Waits for the end, which no frame may precede. A reset is an end too."""
        async with asyncio.timeout(DEADLINE):
            try:
                rest = await self.reader.read(65536)
            except ConnectionError:
                return
        assert rest == b"", rest
        self.writer.close()

    def drop(self) -> None:
        self.writer.transport.abort()
