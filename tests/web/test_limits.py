"""A slow, huge or greedy client ends with its own problem or a closed connection, and costs the others nothing."""

from __future__ import annotations

import asyncio
import socket

import pytest

from teahouse.web import App, Request, Response
from tests.web.specimen import Specimen
from tests.web.wire import chunked, eventually, get, post, request, serving, small_limits

ONE_SECOND = 4  # server ticks


# --- sizes ------------------------------------------------------------------------------------------------------------


async def test_a_head_beyond_a_mebibyte_is_refused_with_431():
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        wire.send(b"GET /ping HTTP/1.1\r\nHost: a\r\n")
        for number in range(1100):
            wire.send(b"X-%d: %b\r\n" % (number, b"v" * 1000))
        (reply,) = await wire.all()
    assert reply.status == 431
    assert reply.problem == "request-header-fields-too-large"


async def test_a_head_just_within_a_mebibyte_is_answered():
    async with serving(Specimen().app) as live:
        fields = [f"X-{number}: {'v' * 1000}" for number in range(900)]
        assert (await live.ask(get("/ping", *fields))).status == 200


async def test_one_endless_header_value_is_refused_with_431():
    async with serving(Specimen().app) as live:
        (reply,) = await live.exchange(b"GET /ping HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 3_000_000)
    assert reply.status == 431


async def test_an_address_of_two_mebibytes_is_refused_with_431():
    async with serving(Specimen().app) as live:
        (reply,) = await live.exchange(get("/user/" + "a" * 2_000_000))
    assert reply.status == 431


async def test_an_address_of_half_a_mebibyte_is_just_an_address():
    async with serving(Specimen().app) as live:
        reply = await live.ask(get("/user/" + "a" * 500_000))
        assert len(reply.json()["id"]) == 500_000
        assert (await live.ask(get("/nowhere/" + "a" * 500_000))).problem == "not-found"


async def test_too_many_fields_are_refused_with_431():
    async with serving(Specimen().app) as live:
        (reply,) = await live.exchange(get("/ping", *(f"X-{number}: v" for number in range(1001))))
    assert reply.status == 431


async def test_a_field_repeated_without_end_is_refused_with_431():
    async with serving(Specimen().app) as live:
        (reply,) = await live.exchange(get("/ping", *(["X-Same: " + "v" * 100] * 400)))
    assert reply.status == 431


async def test_a_large_head_leaves_the_next_request_its_own_room():
    async with serving(Specimen().app, limits=small_limits()) as live:
        wire = await live.connect()
        for _ in range(3):
            for piece in (b"GET /ping HTTP/1.1\r\nHost: a\r\nX: ", b"v" * 3500, b"\r\n", b"\r\n"):
                wire.send(piece)
                await asyncio.sleep(0)
            assert (await wire.reply()).status == 200


async def test_a_body_leaves_the_next_head_its_own_room():
    async with serving(Specimen().app, limits=small_limits(body_bytes=100_000)) as live:
        wire = await live.connect()
        head = request("POST", "/echo", body=b"b" * 50_000)
        wire.send(head[:200])
        await eventually(lambda: any(connection.phase == 2 for connection in live.server._connections))
        wire.send(head[200:] + b"GET /ping HTTP/1.1\r\nHost")
        assert len((await wire.reply()).body) == 50_000
        wire.send(b": a\r\n\r\n")
        assert (await wire.reply()).status == 200


async def test_a_body_announced_too_large_is_refused_at_once():
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n")
        reply = await wire.reply()
        assert await wire.at_end()
    assert reply.status == 413
    assert reply.problem == "content-too-large"


async def test_a_body_announced_too_large_is_not_invited():
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
        assert (await wire.reply()).status == 413


async def test_a_body_of_exactly_the_limit_is_taken():
    async with serving(Specimen().app) as live:
        assert len((await live.ask(request("POST", "/echo", body=b"b" * 1_048_576))).body) == 1_048_576


async def test_a_chunked_body_beyond_the_limit_is_refused():
    async with serving(Specimen().app, limits=small_limits()) as live:
        raw = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        (reply,) = await live.exchange(raw + chunked(*[b"c" * 100] * 50))
    assert reply.status == 413


async def test_a_refused_body_carries_the_callers_request_id_and_address():
    async with serving(Specimen().app) as live:
        raw = b"POST /echo HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nContent-Length: 99999999\r\n\r\n"
        (reply,) = await live.exchange(raw)
    assert reply.headers["x-request-id"] == "mine"
    assert reply.json()["instance"] == "/echo"


async def test_a_route_may_take_more_than_the_usual_limit():
    app = App()

    @app.post("/upload", max_body=3_000_000)
    def upload(request: Request) -> dict[str, int]:
        return {"size": len(request.body)}

    async with serving(app) as live:
        assert (await live.ask(request("POST", "/upload", body=b"u" * 2_000_000))).json() == {"size": 2_000_000}
        assert (await live.exchange(request("POST", "/upload", body=b"u" * 3_000_001)))[0].status == 413


@pytest.mark.parametrize("never_ends", [b"1;" + b"x" * 1000, b"0\r\nX: " + b"t" * 1000])
async def test_a_body_without_content_does_not_grow_without_end(never_ends):
    # Chunk extensions and trailers are no content, yet somebody has to read them.
    async with serving(Specimen().app, limits=small_limits()) as live:
        wire = await live.connect()
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + never_ends)
        for _ in range(2000):
            wire.send(b"y" * 1000)
        wire.half_close()
        (reply,) = await wire.all()
    assert reply.status == 413


async def test_trailers_without_end_are_refused():
    async with serving(Specimen().app, limits=small_limits()) as live:
        raw = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        (reply,) = await live.exchange(raw + b"X-Trailer: t\r\n" * 50_000 + b"\r\n")
    assert reply.status == 413


# --- times ------------------------------------------------------------------------------------------------------------


async def test_a_head_that_drips_is_ended_with_408():
    async with serving(Specimen().app, own_ticks=True) as live:
        wire = await live.connect()
        (connection,) = await _connections(live, 1)
        for byte in b"GET /p":
            wire.send(bytes([byte]))
            await eventually(
                lambda byte=byte: connection._head_bytes and wire.writer.transport.get_write_buffer_size() == 0
            )
            await live.ticks(ONE_SECOND)
        reply = await wire.reply()
        assert await wire.at_end()
    assert reply.status == 408
    assert reply.problem == "request-timeout"
    assert reply.headers["connection"] == "close"


async def test_a_connection_that_never_speaks_is_closed_without_a_word():
    async with serving(Specimen().app, own_ticks=True) as live:
        wire = await live.connect()
        await _connections(live, 1)
        await live.ticks(6 * ONE_SECOND)
        assert await wire.at_end()


async def test_a_body_that_stops_is_ended_with_408():
    async with serving(Specimen().app, own_ticks=True) as live:
        wire = await live.connect()
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nstart")
        await eventually(lambda: any(connection.phase == 2 for connection in live.server._connections))
        await live.ticks(4 * ONE_SECOND)
        assert not wire.reader._buffer
        await live.ticks(2 * ONE_SECOND)
        assert (await wire.reply()).status == 408


async def test_a_body_that_moves_may_take_its_time():
    async with serving(Specimen().app, own_ticks=True) as live:
        wire = await live.connect()
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        await eventually(lambda: any(connection.phase == 2 for connection in live.server._connections))
        (connection,) = live.server._connections
        for number in range(10):
            await live.ticks(4 * ONE_SECOND)
            wire.send(b"b")
            await eventually(lambda number=number: connection._received == number + 1)
        assert (await wire.reply()).body == b"b" * 10


async def test_an_idle_connection_is_closed_after_its_time():
    async with serving(Specimen().app, own_ticks=True) as live:
        wire = await live.connect()
        wire.send(get("/ping"))
        await wire.reply()
        await live.ticks(74 * ONE_SECOND)
        assert live.server.figures.connections == 1
        await live.ticks(2 * ONE_SECOND)
        assert await wire.at_end()
        await eventually(lambda: live.server.figures.connections == 0)


async def test_a_handler_that_takes_long_is_not_taken_for_an_idle_connection():
    specimen = Specimen()
    async with serving(specimen.app, own_ticks=True) as live:
        wire = await live.connect()
        wire.send(get("/slow/a"))
        await eventually(lambda: specimen.entered)
        await live.ticks(200 * ONE_SECOND)
        specimen.gate.set()
        assert (await wire.reply()).json() == {"slow": "a"}


async def test_a_half_sent_request_behind_a_queue_is_not_blamed_for_the_wait():
    # The server stops reading while answers are due, so the missing half cannot arrive.
    specimen = Specimen()
    async with serving(specimen.app, own_ticks=True) as live:
        wire = await live.connect()
        wire.send(get("/slow/a") + get("/ping") + b"GET /user/7 HTT")
        await eventually(lambda: specimen.entered)
        await live.ticks(60 * ONE_SECOND)
        wire.send(b"P/1.1\r\nHost: a\r\n\r\n")
        specimen.gate.set()
        replies = await wire.replies(3)
    assert [reply.status for reply in replies] == [200, 200, 200]
    assert replies[2].json() == {"id": "7"}


async def test_a_reader_that_never_reads_is_cut():
    async with serving(Specimen().app, own_ticks=True) as live:
        wire = await _deaf_client(live)
        await asyncio.get_running_loop().sock_sendall(wire, get("/big/30000000"))
        await eventually(lambda: live.server._connections and next(iter(live.server._connections))._paused)
        await live.ticks(4 * ONE_SECOND)
        assert live.server.figures.connections == 1
        await live.ticks(2 * ONE_SECOND)
        await eventually(lambda: live.server.figures.connections == 0)
        wire.close()


async def test_a_reader_that_reads_slowly_gets_everything():
    async with serving(Specimen().app, own_ticks=True) as live:
        loop = asyncio.get_running_loop()
        wire = await _deaf_client(live)
        await loop.sock_sendall(wire, get("/big/3000000"))
        got = 0
        while got < 3_000_000:
            await live.ticks(2)
            chunk = await asyncio.wait_for(loop.sock_recv(wire, 65536), 10)
            assert chunk, f"cut after {got} bytes"
            got += len(chunk)
        wire.close()


async def test_a_reader_that_never_reads_and_never_stops_asking_is_cut():
    async with serving(Specimen().app, own_ticks=True) as live:
        loop = asyncio.get_running_loop()
        wire = await _deaf_client(live)
        asking = loop.create_task(_ask_forever(wire))
        for _ in range(4000):
            await live.ticks(1)
            await asyncio.sleep(0.001)
            if live.server.figures.connections == 0:
                break
        assert live.server.figures.connections == 0
        asking.cancel()
        await asyncio.wait([asking])
        wire.close()


async def test_a_closing_connection_whose_client_never_reads_does_not_stop_the_ticks():
    async with serving(Specimen().app, own_ticks=True) as live:
        wire = await _deaf_client(live)
        raw = get("/big/30000000", "Connection: close") + b"GET /ping HT"
        await asyncio.get_running_loop().sock_sendall(wire, raw)
        await eventually(lambda: live.server._connections and next(iter(live.server._connections))._paused)
        await live.ticks(7 * ONE_SECOND)
        await eventually(lambda: live.server.figures.connections == 0)
        wire.close()


async def test_a_fault_in_one_connections_sweep_spares_the_others(caplog):
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        wire.send(get("/ping"))
        await wire.reply()
        faulty = _Faulty()
        live.server._connections.add(faulty)
        await eventually(lambda: faulty.aborted)
        before = live.server.tick
        await eventually(lambda: live.server.tick >= before + 2)
        wire.send(get("/ping"))
        assert (await wire.reply()).status == 200
    assert len(caplog.records) == 1


class _Faulty:
    aborted = False

    def sweep(self, tick: int, seconds: float) -> None:
        raise RuntimeError("a fault in a sweep")

    def abort(self) -> None:
        self.aborted = True


# --- refusals arrive --------------------------------------------------------------------------------------------------


async def test_a_refusal_reaches_a_client_that_is_still_sending():
    async with serving(Specimen().app) as live:
        loop = asyncio.get_running_loop()
        wire = socket.socket()
        wire.setblocking(False)
        await loop.sock_connect(wire, ("127.0.0.1", live.port))
        await loop.sock_sendall(wire, b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")
        # The client does not look up before it has sent everything.
        for _ in range(9):
            await loop.sock_sendall(wire, b"b" * 1_000_000)
        answer = b""
        while chunk := await asyncio.wait_for(loop.sock_recv(wire, 65536), 10):
            answer += chunk
        wire.close()
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_client_that_sends_on_without_end_after_a_refusal_is_cut():
    async with serving(Specimen().app, limits=small_limits(linger_bytes=100_000)) as live:
        wire = await live.connect()
        wire.send(b"NONSENSE\r\n\r\n")
        assert (await wire.reply()).status == 400
        wire.send(b"x" * 3_000_000)
        assert await wire.ended()
        await eventually(lambda: live.server.figures.connections == 0)


async def test_a_client_that_keeps_a_refused_connection_open_is_cut():
    async with serving(Specimen().app, own_ticks=True) as live:
        wire = await live.connect()
        wire.send(b"NONSENSE\r\n\r\n")
        assert (await wire.reply()).status == 400
        await live.ticks(3 * ONE_SECOND)
        await eventually(lambda: live.server.figures.connections == 0)


async def test_a_connection_beyond_the_limit_is_told_503_and_the_others_stay():
    async with serving(Specimen().app, limits=small_limits(connections=2)) as live:
        kept = [await live.connect() for _ in range(2)]
        for wire in kept:
            wire.send(get("/ping"))
            assert (await wire.reply()).status == 200
        (reply,) = await live.exchange(get("/ping"))
        assert reply.status == 503
        assert reply.problem == "overloaded"
        assert int(reply.headers["retry-after"]) >= 1
        kept[0].send(get("/ping"))
        assert (await kept[0].reply()).status == 200
        kept[1].close()
        await eventually(lambda: live.server.figures.connections == 1)
        assert (await live.ask(get("/ping"))).status == 200
        assert live.server.figures.rejected == 1


async def test_others_are_answered_while_hostile_clients_are_at_work():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        for raw in (
            b"GET /p",
            b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nstart",
            b"NONSENSE\r\n\r\n",
        ):
            for _ in range(50):
                (await live.connect()).send(raw)
        deaf = [await _deaf_client(live) for _ in range(5)]
        for wire in deaf:
            await asyncio.get_running_loop().sock_sendall(wire, get("/big/5000000"))
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(200):
            assert (await live.ask(get("/ping"))).status == 200
        assert loop.time() - began < 5
        for wire in deaf:
            wire.close()


async def test_answers_of_unusual_shape_cannot_break_their_line():
    app = App()

    @app.get("/typed")
    def typed() -> Response:
        return Response(200, b"", content_type="text/plain\r\nSet-Cookie: forged=1")

    @app.get("/worded")
    async def worded() -> Response:
        return Response(200, b"", headers={"Content-Disposition": "attachment; filename=茶.txt"})

    @app.get("/changed")
    async def changed() -> Response:
        response = Response(200, b"ok")
        response.headers["X-Late"] = "a\r\nSet-Cookie: forged=1"
        return response

    async with serving(app) as live:
        for path in ("/typed", "/worded", "/changed"):
            reply = await live.ask(get(path))
            assert reply.status == 500, path
            assert "set-cookie" not in {name.lower() for name in reply.headers}


async def _connections(live, count):
    await eventually(lambda: len(live.server._connections) == count)
    return list(live.server._connections)


async def _deaf_client(live) -> socket.socket:
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.setblocking(False)
    await asyncio.get_running_loop().sock_connect(wire, ("127.0.0.1", live.port))
    return wire


async def _ask_forever(wire: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    try:
        while True:
            await loop.sock_sendall(wire, get("/big/2000"))
            await asyncio.sleep(0.001)
    except OSError:
        return


async def test_a_purchase_like_body_still_fits():
    async with serving(Specimen().app, limits=small_limits()) as live:
        assert (await live.ask(post("/baskets", b'{"lines":[{"productId":"p","quantity":1}]}'))).status == 201
