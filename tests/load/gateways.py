"""A server in memory, HTTP and WebSockets, that does everything right but what it is told to do wrong."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """Unmasked, as a server's."""
    size = len(payload)
    return (bytes((first, size)) if size < 126 else bytes((first, 126)) + size.to_bytes(2, "big")) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """A client's frame: its first byte and what was in it."""
    first, size = await reader.readexactly(2)
    assert size & 0x80, "a client masks"
    size &= 0x7F
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2), "big")
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(size)
    return first, bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


class FakeTeahouse:
    """``fault`` says what goes wrong. ``members`` are the open sockets of each person."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.url = self.realtime_url = ""
        self.rooms: dict[str, list[str]] = {}
        self.seqs: dict[str, int] = {}
        self.members: dict[str, asyncio.StreamWriter] = {}
        self.pongs: list[bytes] = []
        self.goodbyes: list[bytes] = []
        self.turned_away = False
        self._people = 0

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await self._head(reader):
            path = head.split(b" ")[1].decode()
            size = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
            body = json.loads(await reader.readexactly(size) or b"null")
            status, answer = self._answer(path, body, head)
            kind = "application/problem+json" if status >= 400 else "application/json"
            raw = json.dumps(answer).encode()
            fields = f"Retry-After: 0\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}"
            writer.write(f"HTTP/1.1 {status} x\r\n{fields}\r\n\r\n".encode() + raw)
        writer.close()

    def _answer(self, path: str, body: Any, head: bytes) -> tuple[int, Any]:
        if path == "/v1/auth/wechat":
            if self.fault == "no sandbox":
                return 401, {"type": "/problems/wechat-code-invalid", "status": 401, "detail": "WeChat says no."}
            if self.fault == "is busy" and not self.turned_away:
                self.turned_away = True
                return 429, {"type": "/problems/too-many-requests", "status": 429}
            self._people += 1
            id_ = f"{self._people:032x}"
            return 200, {} if self.fault == "gives no token" else {"accessToken": id_, "user": {"id": id_}}
        if path == "/v1/rooms":
            if self.fault == "has no rooms":
                return 404, {}
            room = f"{len(self.rooms):032x}"
            self.rooms[room] = [self._token(head), *body["members"]]
            return 201, {"id": room}
        return (503, {}) if self.fault == "not ready" else (200, {})

    # --- WebSockets ---------------------------------------------------------------------------------------------------

    async def socket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await self._head(reader)
        if self.fault == "refuses":
            writer.write(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        key = next(line[19:] for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: "))
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        if self.fault == "another key":
            accept = b"x" + accept
        writer.write(b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        if self.fault == "closes before the welcome":
            writer.write(frame((1013).to_bytes(2, "big"), 0x88))
            writer.close()
            return
        person = self._token(head)
        self.members[person] = writer
        # In two parts, as a network may deliver it.
        welcome = frame(json.dumps({"type": "welcome", "userId": person}).encode())
        writer.write(welcome[:1])
        await asyncio.sleep(0)
        writer.write(welcome[1:] + frame(b"are you there?", 0x89))
        try:
            while True:
                self._take(person, *await read_frame(reader))
        except asyncio.IncompleteReadError:
            writer.close()

    def _take(self, person: str, first: int, payload: bytes) -> None:
        if first == 0x8A:
            self.pongs.append(payload)
        elif first == 0x88:
            self.goodbyes.append(payload)
            if self.fault == "says no goodbye":
                return
            self.members[person].write(frame(payload, 0x88))
            self.members[person].close()
        else:
            self._spread(person, json.loads(payload))

    def _spread(self, person: str, said: dict[str, Any]) -> None:
        room = said["to"].removeprefix("room:")
        seq = self.seqs[room] = self.seqs.get(room, 0) + 1
        count = sum(self.seqs.values())
        if self.fault == "refuses a message" and count == 5:
            problem = {"type": "/problems/too-many-frames"}
            self._send(person, {"type": "error", "id": said["id"], "problem": problem})
            return
        if not (self.fault == "loses an ack" and count == 5):
            self._send(person, {"type": "ack", "id": said["id"], "to": said["to"], "seq": seq})
        heard = {**said, "seq": 1 if self.fault == "has no order" else seq, "senderId": person}
        lost = False
        for other in self.rooms[room]:
            if other == person:
                continue
            if self.fault == "loses a message" and count == 5 and not lost:
                lost = True
                continue
            self._send(other, heard)
            if self.fault == "says it twice" and count == 5:
                self._send(other, heard)
        if self.fault == "cuts sockets" and count == 5:
            self.members[self.rooms[room][0]].transport.abort()
        if self.fault == "closes sockets" and count == 5:
            self.members[self.rooms[room][0]].write(frame((4408).to_bytes(2, "big") + b"too slow", 0x88))
        if self.fault == "sends parts" and count == 5:
            self.members[self.rooms[room][0]].write(frame(b'{"type":', 0x01))

    def _send(self, person: str, what: dict[str, Any]) -> None:
        writer = self.members[person]
        if not writer.is_closing():
            writer.write(frame(json.dumps(what).encode()))

    def _token(self, head: bytes) -> str:
        line = next(line for line in head.split(b"\r\n") if line.startswith(b"Authorization: Bearer "))
        return line[22:].decode()

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""


@asynccontextmanager
async def pretending(fault: str = "") -> AsyncIterator[FakeTeahouse]:
    """Serves on free ports."""
    fake = FakeTeahouse(fault)
    http = await asyncio.start_server(fake.http, "127.0.0.1", 0)
    sockets = await asyncio.start_server(fake.socket, "127.0.0.1", 0)
    async with http, sockets:
        fake.url = f"http://127.0.0.1:{http.sockets[0].getsockname()[1]}"
        fake.realtime_url = f"ws://127.0.0.1:{sockets.sockets[0].getsockname()[1]}"
        yield fake
