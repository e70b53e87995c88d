"""Many requests on one connection, and connections that end early: every answer in its place, nothing done twice."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teahouse.web import Background
from tests.web.specimen import Specimen
from tests.web.wire import chunked, eventually, get, post, request, serving

BASKET = b'{"lines":[{"productId":"p","quantity":2}],"note":"hot"}'


async def test_pipelined_answers_keep_their_order_whatever_their_handlers_take():
    paths = [f"/turns/{(number * 7) % 23}" if number % 3 else f"/user/{number}" for number in range(40)]
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        wire.send(b"".join(get(path) for path in paths))
        replies = await wire.replies(len(paths))
    for path, reply in zip(paths, replies, strict=True):
        _, kind, value = path.split("/")
        assert reply.json() == ({"turns": int(value)} if kind == "turns" else {"id": value})


async def test_many_pipelined_requests_in_small_pieces_are_all_answered():
    raw = b"".join(get(f"/user/{number}") for number in range(500))
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        for start in range(0, len(raw), 97):
            wire.send(raw[start : start + 97])
            await asyncio.sleep(0)
        replies = await wire.replies(500)
    assert [reply.json()["id"] for reply in replies] == [str(number) for number in range(500)]


async def test_more_pipelined_requests_than_the_queue_holds_are_cut_without_losing_order():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        wire = await live.connect()
        wire.send(get("/slow/first") + b"".join(get(f"/user/{number}") for number in range(20_000)))
        await eventually(lambda: specimen.entered)
        specimen.gate.set()
        replies = await wire.all()
    assert replies[0].json() == {"slow": "first"}
    got = [reply.json()["id"] for reply in replies[1:]]
    assert got == [str(number) for number in range(len(got))]
    assert 64 <= len(got) < 20_000


async def test_large_pipelined_answers_to_a_slow_reader_keep_memory_bounded():
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        wire.reader._limit = 1024  # the client reads little ahead
        tracemalloc.start()
        wire.send(get("/big/1000000") * 60)
        await eventually(lambda: any(connection._paused for connection in live.server._connections))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        wire.reader._limit = 64 * 1024 * 1024
        replies = await wire.replies(60)
    assert {len(reply.body) for reply in replies} == {1_000_000}
    assert peak < 12_000_000


@pytest.mark.parametrize(
    "raw",
    [
        get("/user/7", "X-A: b"),
        post("/baskets", BASKET),
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked(b"tea", b"house", trailer=b"X: y\r\n"),
        get("/turns/2"),
    ],
    ids=["get", "post", "chunked", "waiting"],
)
async def test_a_request_cut_at_every_byte_is_never_carried_out(raw):
    specimen = Specimen()
    async with serving(specimen.app) as live:
        whole = await live.ask(raw)
        answered = [route.figures.statuses.copy() for route in specimen.app.router]
        for cut in range(len(raw)):
            wire = await live.connect()
            wire.send(raw[:cut])
            wire.half_close()
            replies = await wire.all()
            wire.close()
            assert [reply.status for reply in replies] in ([], [400], [408]), (cut, replies)
        assert [route.figures.statuses for route in specimen.app.router] == answered
        assert (await live.ask(raw)).body == whole.body
        await eventually(lambda: live.server.figures.connections == 0)


async def test_two_requests_split_at_every_byte_get_the_same_two_answers():
    specimen = Specimen()
    raw = post("/baskets", BASKET) + get("/turns/3", "X-A: b")
    async with serving(specimen.app) as live:
        wire = await live.connect()
        for cut in range(1, len(raw)):
            wire.send(raw[:cut])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            wire.send(raw[cut:])
            first, second = await wire.replies(2)
            assert (first.status, first.json()) == (201, {"totalQuantity": 2, "note": "hot"}), cut
            assert (second.status, second.json()) == (200, {"turns": 3}), cut


async def test_two_requests_byte_by_byte_get_the_same_two_answers():
    raw = post("/baskets", BASKET) + get("/turns/3")
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        for byte in raw:
            wire.send(bytes([byte]))
            await asyncio.sleep(0)
        first, second = await wire.replies(2)
    assert first.json() == {"totalQuantity": 2, "note": "hot"}
    assert second.json() == {"turns": 3}


async def test_a_client_that_half_closes_still_gets_the_answer():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        wire = await live.connect()
        wire.send(get("/slow/a") + get("/user/7"))
        wire.half_close()
        await eventually(lambda: specimen.entered)
        specimen.gate.set()
        replies = await wire.all()
        assert [reply.status for reply in replies] == [200, 200]
        await eventually(lambda: live.server.figures.connections == 0, seconds=1)


@pytest.mark.parametrize(
    "rest",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /half HTTP/1.1\r\nHo",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab",
    ],
)
async def test_a_client_that_half_closes_after_half_a_request_still_gets_the_first_answer(rest):
    specimen = Specimen()
    async with serving(specimen.app) as live:
        wire = await live.connect()
        wire.send(get("/slow/a") + rest)
        wire.half_close()
        await eventually(lambda: specimen.entered)
        specimen.gate.set()
        replies = await wire.all()
        assert replies[0].json() == {"slow": "a"}
        assert [reply.status for reply in replies[1:]] in ([], [400])
        await eventually(lambda: live.server.figures.connections == 0, seconds=3)


async def test_a_large_answer_reaches_a_client_that_half_closed():
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        wire.send(get("/big/5000000"))
        wire.half_close()
        (reply,) = await wire.all()
    assert len(reply.body) == 5_000_000


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_handler_whose_client_has_gone_is_finished_and_nothing_is_wrong(how, caplog):
    specimen = Specimen()
    async with serving(specimen.app) as live:
        wire = await live.connect()
        wire.send(get("/slow/a"))
        await eventually(lambda: specimen.entered)
        getattr(wire, how)()
        if how == "reset":
            await eventually(lambda: live.server.figures.connections == 0)
        specimen.gate.set()
        await eventually(lambda: live.server.running == 0)
        await eventually(lambda: live.server.figures.connections == 0)
        assert specimen.finished == ["a"]
        slow = next(route for route in specimen.app.router if route.template == "/slow/{name}")
        assert slow.figures.statuses == {200: 1}
        assert (await live.ask(get("/ping"))).status == 200
    assert caplog.records == []


async def test_background_work_starts_even_where_the_client_has_gone():
    specimen = Specimen()
    app = specimen.app

    @app.post("/slow-order", status=202)
    async def order(background: Background) -> dict[str, str]:
        async def run() -> None:
            specimen.finished.append("work")

        specimen.entered.append("order")
        background.add(run, hand_back=run)
        await specimen.gate.wait()
        return {}

    async with serving(app) as live:
        wire = await live.connect()
        wire.send(request("POST", "/slow-order", body=b""))
        await eventually(lambda: specimen.entered)
        wire.reset()
        await eventually(lambda: live.server.figures.connections == 0)
        specimen.gate.set()
        await eventually(lambda: specimen.finished == ["work"])


async def test_connection_close_is_kept_even_with_a_slow_client():
    async with serving(Specimen().app) as live:
        (reply,) = await live.exchange(get("/big/3000000", "Connection: close"))
    assert len(reply.body) == 3_000_000
    assert reply.headers["connection"] == "close"


async def test_an_answer_before_a_close_survives_what_the_client_still_sends():
    # Closing over unread input would reset the connection and could take the answer with it.
    async with serving(Specimen().app) as live:
        for _ in range(20):
            wire = await live.connect()
            wire.send(get("/big/200000", "Connection: close") + b"x" * 600_000)
            (reply,) = await wire.all()
            assert len(reply.body) == 200_000
            wire.close()


NOISE = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from(
            [
                b"GET ", b"POST ", b"/ping", b"/user/7", b"/echo", b" HTTP/1.1", b" HTTP/1.0", b"\n", b"Host: a\r\n",
                b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n",
                b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: x\r\n", b"Expect: 100-continue\r\n",
                b"\r\n", b"\r\n\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"abc", b"\0", b"\xff", b": ", b" ",
            ]
        ),
        max_size=25,
    ).map(b"".join),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(NOISE, min_size=1, max_size=3), min_size=5, max_size=5))
def test_noise_never_kills_the_server_nor_hangs_a_connection(noises):
    import uvloop

    async def play() -> None:
        async with serving(Specimen().app) as live:
            for pieces in noises:
                wire = await live.connect()
                for piece in pieces:
                    wire.send(piece)
                    await asyncio.sleep(0)
                wire.half_close()
                for reply in await wire.all():
                    assert reply.status < 500
                wire.close()
            assert (await live.ask(get("/ping"))).status == 200
            await eventually(lambda: live.server.figures.connections == 0)

    uvloop.run(play())
