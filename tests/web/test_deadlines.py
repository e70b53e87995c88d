"""A slow or greedy client ends with its own problem or a closed connection, and costs the others nothing."""

from __future__ import annotations

import asyncio
import socket

from tests.web.specimen import Specimen
from tests.web.wire import eventually, get, serving, small_limits

ONE_SECOND = 4  # server ticks


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


async def _ask_forever(wire: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    try:
        while True:
            await loop.sock_sendall(wire, get("/big/2000"))
            await asyncio.sleep(0.001)
    except OSError:
        return


async def _connections(live, count):
    await eventually(lambda: len(live.server._connections) == count)
    return list(live.server._connections)


async def _deaf_client(live) -> socket.socket:
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.setblocking(False)
    await asyncio.get_running_loop().sock_connect(wire, ("127.0.0.1", live.port))
    return wire
