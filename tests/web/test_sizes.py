"""What is larger than it may be ends with its own problem."""

from __future__ import annotations

import asyncio

import pytest

from teahouse.web import App, Request, Response
from tests.web.specimen import Specimen
from tests.web.wire import chunked, eventually, get, post, request, serving, small_limits


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


async def test_a_purchase_like_body_still_fits():
    async with serving(Specimen().app, limits=small_limits()) as live:
        assert (await live.ask(post("/baskets", b'{"lines":[{"productId":"p","quantity":1}]}'))).status == 201


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
