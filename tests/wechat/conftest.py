"""A database and a clock of their own for the sandbox, and a small HTTP server that plays WeChat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from teahouse.engines.sql import Database
from tests.clocks import ManualClock

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class PlayedWechat:
    """Answers over a real socket; ``requests`` are the request lines that came, ``answer`` plays the answer."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.answer: Answer = says(b'{"openid":"o1","session_key":"k1","unionid":"u1"}')
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.requests.append(line.decode())
                while (await reader.readline()).strip():
                    pass
                await self.answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def says(body: bytes, status: str = "200 OK") -> Answer:
    """A complete answer, with the content type WeChat has."""

    async def answer(_reader, writer) -> None:
        writer.write(
            b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % (status.encode(), len(body))
        )
        writer.write(body)
        await writer.drain()

    return answer


@pytest.fixture
async def wechat() -> AsyncIterator[PlayedWechat]:
    played = PlayedWechat()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader, writer) -> None:
        tasks.add(asyncio.current_task())
        await played.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    played.address = f"http://{host}:{port}"
    yield played
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.wait_closed()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'teahouse.db'}")
    await database.connect()
    await database.create_all()
    yield database
    await database.aclose()
