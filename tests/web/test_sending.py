"""Answers that are sent piece by piece."""

from __future__ import annotations

import asyncio
import os

import pytest

from teahouse.web import App, Limits, TestClient
from teahouse.web.sending import FileSpan, StreamedResponse
from tests.web.wire import eventually, serving


class Shelf:
    """Answers with parts of one file, and with pieces that are wrong."""

    def __init__(self, path, data):
        path.write_bytes(data)
        self.data = data
        self.path = path
        self.open = 0
        self.app = App()
        self.app.get("/file")(self.file)
        self.app.get("/mixed")(self.mixed)
        self.app.get("/short")(self.short)
        self.app.get("/long")(self.long)
        self.app.get("/truncated")(self.truncated)
        self.app.get("/hello")(self.hello)

    async def pieces(self, *pieces):
        descriptor = os.open(self.path, os.O_RDONLY)
        self.open += 1
        try:
            for piece in pieces:
                yield FileSpan(descriptor, *piece) if isinstance(piece, tuple) else piece
        finally:
            os.close(descriptor)
            self.open -= 1

    def answer(self, length, *pieces):
        return StreamedResponse(200, length, self.pieces(*pieces), content_type="application/octet-stream")

    def file(self):
        return self.answer(len(self.data), (0, len(self.data)))

    def mixed(self):
        return self.answer(15, b"<", (1, 4), b"|", (0, 8), b">")

    def short(self):
        return self.answer(10, b"1234")

    def long(self):
        return self.answer(3, b"1234")

    def truncated(self):
        return self.answer(len(self.data) + 5, (0, len(self.data) + 5))

    def hello(self) -> str:
        return "hello"


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "file", os.urandom(9_000_001))


def get(path):
    return b"GET %b HTTP/1.1\r\nHost: t\r\n\r\n" % path


async def all_closed(shelf):
    await eventually(lambda: shelf.open == 0)


async def test_a_file_and_what_is_asked_behind_it_arrive_in_their_order(shelf):
    async with serving(shelf.app) as server:
        wire = await server.connect()
        wire.send(get(b"/file") + get(b"/hello") + get(b"/mixed") + get(b"/file"))
        first, hello, mixed, last = await wire.replies(4)
    assert first.body == last.body == shelf.data
    assert hello.json() == "hello"
    assert mixed.body == b"<" + shelf.data[1:5] + b"|" + shelf.data[:8] + b">"
    assert shelf.open == 0


async def test_a_head_request_opens_nothing_and_tells_the_length(shelf):
    async with serving(shelf.app) as server:
        wire = await server.connect()
        wire.send(b"HEAD /file HTTP/1.1\r\nHost: t\r\n\r\n" + get(b"/hello"))
        head = await wire.reply(head_only=True)
        assert (head.status, head.headers["content-length"]) == (200, str(len(shelf.data)))
        assert (await wire.reply()).json() == "hello"
    assert shelf.open == 0


async def test_the_client_of_tests_gets_files_too(shelf):
    async with TestClient(shelf.app) as client:
        assert (await client.get("/file")).body == shelf.data
        assert (await client.get("/mixed")).body[:2] == b"<" + shelf.data[1:2]


@pytest.mark.parametrize("path", [b"/short", b"/long", b"/truncated"])
async def test_a_body_that_is_not_as_long_as_was_told_cuts_the_connection(shelf, path, caplog):
    async with serving(shelf.app) as server:
        wire = await server.connect()
        wire.send(get(path))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await wire.reply()
        await all_closed(shelf)
    assert "broke off" in caplog.text


@pytest.mark.parametrize("way", ["reset", "close"])
async def test_a_client_that_leaves_in_the_middle_holds_nothing_open(shelf, way):
    async with serving(shelf.app) as server:
        wires = [await server.connect() for _ in range(5)]
        for wire in wires:
            wire.send(get(b"/file"))
            await wire.reader.readexactly(1000)
        for wire in wires:
            getattr(wire, way)()
        await all_closed(shelf)
        await eventually(lambda: not server.server.running)


async def test_a_client_that_reads_nothing_is_cut_off_and_a_slow_one_is_not(shelf):
    async with serving(shelf.app, limits=Limits(write_seconds=0.5)) as server:
        deaf, slow = await server.connect(), await server.connect()
        deaf.reader._limit = slow.reader._limit = 1000
        deaf.send(get(b"/file") * 3)
        slow.send(get(b"/file"))
        got = b""
        async with asyncio.timeout(60):
            while len(got) < len(shelf.data):
                piece = await slow.reader.read(200_000)
                assert piece
                got += piece
                await asyncio.sleep(0.03)
        assert got.endswith(shelf.data[-100_000:])
        await all_closed(shelf)
        assert await deaf.ended()
