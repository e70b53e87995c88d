"""People come in over real sockets, speak, hear and leave; the server here is a toy that speaks like the hubs."""

import asyncio
import base64
import hashlib
import json
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.failures import BenchFailed
from bench.messages.books import Books, content, require_all
from bench.messages.crowd import Crowd, allow_files
from bench.messages.dialects import HUB, Person
from bench.messages.frames import TEXT, request

ROOMS = (range(3),)
PEOPLE = [Person(f"{number:032x}", f"token-{number}") for number in range(3)]


def framed(payload: bytes) -> bytes:
    size = len(payload)
    return (bytes((TEXT, size)) if size < 126 else bytes((TEXT, 126)) + size.to_bytes(2, "big")) + payload


async def read_text(reader: asyncio.StreamReader) -> dict[str, str]:
    size = (await reader.readexactly(2))[1] & 0x7F
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2), "big")
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(size)
    return json.loads(bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload)))


class Toy:
    """One room. ``copies`` of each message go to everybody but its sender."""

    def __init__(self, *, copies: int = 1, lets_in: bool = True) -> None:
        self.members: list[asyncio.StreamWriter] = []
        self._copies = copies
        self._lets_in = lets_in

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if not self._lets_in or "Authorization: Bearer token-" not in head:
                writer.write(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
                return
            key = next(line.split(": ")[1] for line in head.splitlines() if line.startswith("Sec-WebSocket-Key"))
            writer.write(f"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept(key)}\r\n\r\n".encode())
            writer.write(framed(b'{"type":"welcome"}'))
            while True:
                self._take(await read_text(reader), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _take(self, said: dict[str, str], writer: asyncio.StreamWriter) -> None:
        if said["type"] == "join":
            self.members.append(writer)
            writer.write(framed(b'{"type":"joined"}'))
            return
        text = framed(json.dumps({**said, "seq": 1}).encode())
        for member in self.members:
            if member is not writer:
                member.write(text * self._copies)
        writer.write(framed(json.dumps({"type": "ack", "id": said["id"]}).encode()))


def accept(key: str) -> str:
    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()


@asynccontextmanager
async def crowd_at(toy: Toy) -> AsyncIterator[Crowd]:
    server = await asyncio.start_server(toy.serve, "127.0.0.1", 0)
    crowd = Crowd(server.sockets[0].getsockname()[1], HUB)
    try:
        yield crowd
    finally:
        await crowd.leave()
        server.close()
        await server.wait_closed()


async def talk(crowd: Crowd, deliveries: int) -> None:
    await crowd.enter(PEOPLE, ["1"] * 3, {0})
    for number in range(4):
        crowd.people[0].say(number, "1", content(number, 1.0))
    deadline = asyncio.get_running_loop().time() + 5
    while sum(data.count(b'"content"') for _, _, data in crowd.notes) < deliveries:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    while sum(data.count(b'"ack"') for _, _, data in crowd.notes) < 4:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


def test_everybody_who_came_in_hears_what_is_said():
    async def play() -> None:
        async with crowd_at(Toy()) as crowd:
            await talk(crowd, 8)
            require_all("toy", Books(range(4), ROOMS).enter(crowd.notes, HUB.read))
            crowd.check()

    asyncio.run(play())


def test_a_server_that_says_everything_twice_is_found_out():
    async def play() -> None:
        async with crowd_at(Toy(copies=2)) as crowd:
            await talk(crowd, 16)
            with pytest.raises(BenchFailed, match="toy: 8 came twice"):
                require_all("toy", Books(range(4), ROOMS).enter(crowd.notes, HUB.read))

    asyncio.run(play())


def test_a_server_that_lets_nobody_in_ends_the_run():
    async def play() -> None:
        async with crowd_at(Toy(lets_in=False)) as crowd:
            with pytest.raises(BenchFailed, match="answered with HTTP/1.1 401"):
                await crowd.enter(PEOPLE[:1], ["1"], {0})

    asyncio.run(play())


def test_a_server_that_is_not_there_ends_the_run():
    async def play() -> None:
        async with crowd_at(Toy()) as crowd:
            pass
        with pytest.raises(BenchFailed, match="connection 1 cannot be had"):
            await crowd.enter(PEOPLE[:1], ["1"], {0})

    asyncio.run(play())


def test_a_connection_that_the_server_drops_is_missed():
    async def play() -> None:
        toy = Toy()
        async with crowd_at(toy) as crowd:
            await crowd.enter(PEOPLE, ["1"] * 3, {0})
            toy.members[1].transport.abort()
            deadline = asyncio.get_running_loop().time() + 5
            while not crowd.gone:
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.01)
            with pytest.raises(BenchFailed, match="1 connections were lost"):
                crowd.check()

    asyncio.run(play())


def test_more_connections_than_open_files_end_the_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 9_000))
    with pytest.raises(BenchFailed, match="open files"):
        allow_files(9_000)


def test_the_key_of_an_upgrade_is_proven():
    sent, proof = request(8000, "/message", None)
    key = next(line.split(": ")[1] for line in sent.decode().splitlines() if line.startswith("Sec-WebSocket-Key"))
    assert accept(key).encode() == proof
    assert b"Authorization" not in sent
