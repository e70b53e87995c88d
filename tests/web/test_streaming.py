"""Bodies that a handler reads while they arrive, whichever way they come to their end."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

from teahouse.problems import BadRequest, Problem
from teahouse.web import App, Limits, Request
from teahouse.web.streaming import HELD_BYTES, ClientGone
from tests.web.wire import eventually, serving

PUT = b"PUT /sink HTTP/1.1\r\nHost: t\r\n"


class Sink:
    """Takes bodies; ``gate`` holds its reading up, ``ends`` says how each body ended."""

    def __init__(self) -> None:
        self.app = App()
        self.gate = asyncio.Event()
        self.gate.set()
        self.got = 0
        self.ends: list[str] = []
        self.app.put("/sink", streams=True)(self.sink)
        self.app.put("/bounded", streams=True, max_body=10)(self.sink)
        self.app.put("/deaf", streams=True)(self.deaf)
        self.app.get("/hello")(self.hello)

    async def sink(self, request: Request) -> dict[str, str | int]:
        digest, size = hashlib.sha256(), 0
        assert request.stream is not None
        try:
            while True:
                await self.gate.wait()
                if not (chunks := await request.stream.read()):
                    break
                for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                self.got += sum(map(len, chunks))
        except (Problem, ClientGone) as end:
            self.ends.append(type(end).__name__)
            raise
        self.ends.append("whole")
        return {"size": size, "sha256": digest.hexdigest()}

    async def deaf(self) -> None:
        raise BadRequest("Not interested.")

    def hello(self) -> str:
        return "hello"

    async def until(self, number: int) -> None:
        """Bodies have ended."""
        await eventually(lambda: len(self.ends) >= number)


@pytest.fixture
def sink():
    return Sink()


def sized(data, path=b"/sink", fields=b""):
    return b"PUT %b HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n%b\r\n%b" % (path, len(data), fields, data)


def chunked(data, size):
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return PUT + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (*pieces, b""))


def told(reply, data):
    return reply.status == 200 and reply.json() == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("size", [0, 1, 65536, 1_000_003, 20_000_000])
async def test_a_body_of_any_size_arrives_whole_and_the_connection_goes_on(sink, size):
    data = os.urandom(size)
    async with serving(sink.app) as server:
        wire = await server.connect()
        for raw in (sized(data), chunked(data, 70_001), sized(data), b"GET /hello HTTP/1.1\r\nHost: t\r\n\r\n"):
            wire.send(raw)
        first, second, third, hello = await wire.replies(4)
    assert all(told(each, data) for each in (first, second, third))
    assert hello.json() == "hello"
    assert sink.ends == ["whole"] * 3


async def test_a_body_that_comes_byte_by_byte_is_read_meanwhile(sink):
    async with serving(sink.app) as server:
        wire = await server.connect()
        data = b"0123456789"
        for at, byte in enumerate(sized(data)):
            wire.send(bytes([byte]))
            await wire.writer.drain()
            if at % 16 == 0:
                await asyncio.sleep(0)
        assert told(await wire.reply(), data)


async def test_a_sender_is_held_back_to_the_pace_of_the_reader(sink):
    data = os.urandom(40_000_000)
    async with serving(sink.app, limits=Limits(body_seconds=0.5)) as server:
        sink.gate.clear()
        wire = await server.connect()
        wire.send(sized(data))
        # Longer than a client may stand still: it is the server that does not read.
        before = wire.writer.transport.get_write_buffer_size()
        deadline = asyncio.get_running_loop().time() + 1.2
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
        assert wire.writer.transport.get_write_buffer_size() > 20_000_000
        assert before >= wire.writer.transport.get_write_buffer_size()
        (connection,) = server.server._connections
        assert connection._stream._held < HELD_BYTES + 300_000
        sink.gate.set()
        assert told(await wire.reply(), data)


async def test_a_body_that_stands_still_is_a_time_out_that_its_reader_is_told(sink):
    async with serving(sink.app, limits=Limits(body_seconds=0.3)) as server:
        wire = await server.connect()
        wire.send(PUT + b"Content-Length: 10\r\n\r\n12345")
        (reply,) = await wire.all()
    assert (reply.status, reply.problem, reply.headers["connection"]) == (408, "request-timeout", "close")
    assert (sink.ends, sink.got) == (["RequestTimeout"], 5)


@pytest.mark.parametrize("way", ["reset", "close"])
@pytest.mark.parametrize("sent", [0, 1, 5, 9])
async def test_a_connection_that_is_cut_leaves_what_had_come(sink, way, sent):
    async with serving(sink.app) as server:
        wire = await server.connect()
        wire.send(PUT + b"Content-Length: 10\r\n\r\n" + b"x" * sent)
        await eventually(lambda: sink.got >= sent and server.server.running)
        getattr(wire, way)()
        await sink.until(1)
    assert (sink.ends, sink.got) == (["ClientGone"], sent)


async def test_a_client_that_half_closes_too_early_is_told_so(sink):
    async with serving(sink.app) as server:
        wire = await server.connect()
        wire.send(PUT + b"Content-Length: 10\r\n\r\n12345")
        wire.half_close()
        (reply,) = await wire.all()
    assert (reply.status, reply.problem, sink.ends) == (400, "bad-request", ["ClientGone"])


async def test_a_body_that_is_no_http_ends_with_what_came_before(sink):
    async with serving(sink.app) as server:
        wire = await server.connect()
        wire.send(PUT + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n")
        await eventually(lambda: sink.got >= 5)
        wire.send(b"zz\r\n")
        (reply,) = await wire.all()
    assert (reply.status, sink.ends, sink.got) == (400, ["BadRequest"], 5)


async def test_more_than_the_route_takes_is_refused_by_its_length_or_when_it_comes(sink):
    async with serving(sink.app) as server:
        wire = await server.connect()
        wire.send(sized(b"x" * 11, b"/bounded"))
        (reply,) = await wire.all()
        assert (reply.status, sink.ends) == (413, [])
        wire = await server.connect()
        wire.send(chunked(b"x" * 11, 4).replace(b"/sink", b"/bounded"))
        (reply,) = await wire.all()
    assert reply.status == 413


async def test_codings_other_than_chunked_are_refused_before_a_byte_is_taken(sink):
    async with serving(sink.app) as server:
        wire = await server.connect()
        wire.send(PUT + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n")
        (reply,) = await wire.all()
    assert (reply.status, sink.got, sink.ends) == (400, 0, [])


async def test_a_refusal_without_reading_is_the_last_answer_and_arrives(sink):
    async with serving(sink.app) as server:
        wire = await server.connect()
        wire.send(b"PUT /deaf HTTP/1.1\r\nHost: t\r\nContent-Length: 5000000\r\n\r\n" + bytes(4_000_000))
        (reply,) = await wire.all()
    assert (reply.status, reply.headers["connection"]) == (400, "close")


async def test_a_refusal_of_a_body_that_had_come_whole_keeps_the_connection(sink):
    async with serving(sink.app) as server:
        wire = await server.connect()
        wire.send(sized(b"12345", b"/deaf") + sized(b"12345"))
        first, second = await wire.replies(2)
    assert (first.status, second.status) == (400, 200)
    assert "connection" not in first.headers


async def test_a_client_that_asks_first_is_invited_only_by_who_reads(sink):
    async with serving(sink.app) as server:
        wire = await server.connect()
        wire.send(b"PUT /deaf HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        (reply,) = await wire.all()
        assert reply.status == 400
        wire = await server.connect()
        wire.send(PUT + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert (await wire.reply()).status == 100
        wire.send(b"12345")
        assert told(await wire.reply(), b"12345")


async def test_an_upload_that_asks_for_another_protocol_is_read_as_an_upload(sink):
    async with serving(sink.app) as server:
        for raw in (sized(b"12345", fields=b"Connection: upgrade\r\nUpgrade: h2c\r\n"),):
            wire = await server.connect()
            wire.send(raw)
            assert told(await wire.reply(), b"12345")


async def test_what_follows_an_upload_waits_for_its_answer(sink):
    data = os.urandom(3_000_000)
    async with serving(sink.app) as server:
        sink.gate.clear()
        wire = await server.connect()
        wire.send(sized(data) + sized(data) + b"GET /hello HTTP/1.1\r\nHost: t\r\n\r\n")
        sink.gate.set()
        first, second, hello = await wire.replies(3)
    assert told(first, data)
    assert told(second, data)
    assert hello.status == 200


async def test_a_node_that_stops_tells_its_uploads_to_go_on_elsewhere(sink):
    async with serving(sink.app) as server:
        wire = await server.connect()
        wire.send(PUT + b"Content-Length: 10\r\n\r\n12345")
        await eventually(lambda: sink.got >= 5)
        await server.server.stop(5.0)
        (reply,) = await wire.all()
    assert (reply.status, reply.problem, sink.ends) == (503, "shutting-down", ["ShuttingDown"])
