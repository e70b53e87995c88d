"""What RFC 9112 leaves no doubt about: where one request ends and the next begins."""

from __future__ import annotations

import asyncio

import pytest

from tests.web.specimen import Specimen
from tests.web.wire import chunked, eventually, get, request, serving

BASKET = b'{"lines":[{"productId":"p","quantity":2}]}'


def _post(*fields: bytes, body: bytes = b"") -> bytes:
    head = [b"POST /echo HTTP/1.1", b"Host: tea.example", *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


SMUGGLED = get("/user/smuggled")

AMBIGUOUS = {
    "both Content-Length and Transfer-Encoding": _post(
        b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED
    ),
    "Transfer-Encoding before Content-Length": _post(
        b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"0\r\n\r\n" + SMUGGLED
    ),
    "two equal Content-Lengths": _post(b"Content-Length: 4", b"Content-Length: 4", body=b"abcd"),
    "two different Content-Lengths": _post(b"Content-Length: 0", b"Content-Length: 4", body=b"abcd"),
    "a list of Content-Lengths": _post(b"Content-Length: 4, 4", body=b"abcd"),
    "a negative Content-Length": _post(b"Content-Length: -4", body=b"abcd"),
    "a signed Content-Length": _post(b"Content-Length: +4", body=b"abcd"),
    "a Content-Length with a space": _post(b"Content-Length: 4 4", body=b"abcd"),
    "a hexadecimal Content-Length": _post(b"Content-Length: 0x4", body=b"abcd"),
    "an empty Content-Length": _post(b"Content-Length:", body=b"abcd"),
    "a Content-Length past 64 bits": _post(b"Content-Length: 18446744073709551617", body=b"abcd"),
    "a Content-Length of 5000 digits": _post(b"Content-Length: " + b"1" * 5000, body=b"abcd"),
    "an unknown Transfer-Encoding": _post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "the identity Transfer-Encoding": _post(b"Transfer-Encoding: identity", body=SMUGGLED),
    "chunked not last": _post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "chunked twice": _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "a folded field": _post(b"X-Folded: a", b" b"),
    "a folded first field": b"GET /ping HTTP/1.1\r\n Host: a\r\n\r\n",
    "a space before the colon": b"GET /ping HTTP/1.1\r\nHost : a\r\n\r\n",
    "a field without a colon": b"GET /ping HTTP/1.1\r\nHost: a\r\nabc\r\n\r\n",
    "a field without a name": b"GET /ping HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
    "a field name with a bracket": b"GET /ping HTTP/1.1\r\nHost: a\r\nX(y): z\r\n\r\n",
    "a null in a value": b"GET /ping HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "a control character in a value": b"GET /ping HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n",
    "a bare CR in a value": b"GET /ping HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
    "bare line feeds": b"GET /ping HTTP/1.1\nHost: a\n\n",
    "a bare line feed at the end": b"GET /ping HTTP/1.1\r\nHost: a\r\n\n",
    "no Host": b"GET /ping HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /ping HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "a method in lower case": b"get /ping HTTP/1.1\r\nHost: a\r\n\r\n",
    "an invented method": b"BREW /ping HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space in the target": b"GET /pi ng HTTP/1.1\r\nHost: a\r\n\r\n",
    "a raw high byte in the target": b"GET /p\xffng HTTP/1.1\r\nHost: a\r\n\r\n",
    "a null in the target": b"GET /p\0ng HTTP/1.1\r\nHost: a\r\n\r\n",
    "no version": b"GET /ping\r\n\r\n",
    "version 0.9": b"GET /ping HTTP/0.9\r\nHost: a\r\n\r\n",
    "version 1.2": b"GET /ping HTTP/1.2\r\nHost: a\r\n\r\n",
    "version 2.0": b"GET /ping HTTP/2.0\r\nHost: a\r\n\r\n",
    "another protocol": b"GET /ping ICE/1.0\r\nHost: a\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a chunk size that is no number": _post(b"Transfer-Encoding: chunked", body=b"zz\r\n\r\n"),
    "a negative chunk size": _post(b"Transfer-Encoding: chunked", body=b"-1\r\n\r\n"),
    "a chunk size with 0x": _post(b"Transfer-Encoding: chunked", body=b"0x1\r\na\r\n0\r\n\r\n"),
    "a chunk size past 64 bits": _post(b"Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\n"),
    "a chunk size and a bare line feed": _post(b"Transfer-Encoding: chunked", body=b"1\na\r\n0\r\n\r\n"),
    "a chunk longer than its size": _post(b"Transfer-Encoding: chunked", body=b"1\r\nab\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_a_request_that_could_be_read_in_two_ways_is_refused_and_the_connection_ends(raw):
    async with serving(Specimen().app) as live:
        replies = await live.exchange(raw)
    assert [reply.status for reply in replies] == [400]
    assert replies[0].problem == "bad-request"
    assert replies[0].headers["connection"] == "close"
    assert len(replies[0].headers["x-request-id"]) > 0


@pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_good_requests_before_a_bad_one_are_answered_first(raw):
    specimen = Specimen()
    specimen.gate.set()
    async with serving(specimen.app) as live:
        replies = await live.exchange(get("/ping") + get("/slow/a") + get("/turns/50") + raw)
    assert [reply.status for reply in replies] == [200, 200, 200, 400]
    assert replies[1].json() == {"slow": "a"}


async def test_chunked_bodies_are_put_together():
    async with serving(Specimen().app) as live:
        reply = await live.ask(_post(b"Transfer-Encoding: chunked", body=chunked(b"ab", b"c" * 300, b"d")))
    assert reply.body == b"ab" + b"c" * 300 + b"d"


async def test_chunk_extensions_are_ignored():
    body = b'2;a=b;c="d\\"e"\r\nok\r\n0;last\r\n\r\n'
    async with serving(Specimen().app) as live:
        assert (await live.ask(_post(b"Transfer-Encoding: chunked", body=body))).body == b"ok"


async def test_trailers_add_no_header():
    specimen = Specimen()
    trailer = b"Authorization: Bearer forged\r\nX-Request-Id: forged\r\nContent-Type: text/html\r\n"
    async with serving(specimen.app) as live:
        reply = await live.ask(_post(b"Transfer-Encoding: chunked", body=chunked(b"ok", trailer=trailer)))
    assert reply.status == 200
    assert specimen.seen[0].header("authorization") is None
    assert specimen.seen[0].header("content-type") is None
    assert reply.headers["x-request-id"] != "forged"


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity, chunked", b"chunked;x=1, chunked"])
async def test_a_body_in_a_coding_that_is_not_undone_is_refused(coding):
    specimen = Specimen()
    async with serving(specimen.app) as live:
        (reply,) = await live.exchange(_post(b"Transfer-Encoding: " + coding, body=chunked(b"\x1f\x8b")))
    assert reply.status == 400
    assert specimen.seen == []


async def test_the_name_of_the_chunked_coding_may_be_written_large():
    async with serving(Specimen().app) as live:
        assert (await live.ask(_post(b"Transfer-Encoding: Chunked ", body=chunked(b"tea")))).body == b"tea"


async def test_empty_lines_before_a_request_are_skipped():
    async with serving(Specimen().app) as live:
        assert (await live.ask(b"\r\n\r\n" + get("/ping"))).status == 200


async def test_spaces_around_a_value_are_not_part_of_it():
    async with serving(Specimen().app) as live:
        reply = await live.ask(get("/headers", "Idempotency-Key: \t  a b \t "))
    assert reply.json()["key"] == "a b"


async def test_http_1_0_is_answered_and_closed():
    async with serving(Specimen().app) as live:
        (reply,) = await live.exchange(b"GET /ping HTTP/1.0\r\n\r\n")
    assert reply.status == 200
    assert reply.headers["connection"] == "close"


async def test_http_1_0_is_closed_even_where_it_asks_to_be_kept():
    raw = b"GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    async with serving(Specimen().app) as live:
        replies = await live.exchange(raw + raw)
    assert len(replies) == 1
    assert replies[0].headers["connection"] == "close"


async def test_a_request_after_connection_close_is_not_carried_out():
    specimen = Specimen()
    raw = request("POST", "/echo", "Connection: close", body=b"one") + request("POST", "/echo", body=b"two")
    async with serving(specimen.app) as live:
        replies = await live.exchange(raw)
    assert [reply.body for reply in replies] == [b"one"]
    assert replies[0].headers["connection"] == "close"
    assert [seen.body for seen in specimen.seen] == [b"one"]


async def test_a_pipelined_http_1_0_request_after_the_last_is_not_carried_out():
    specimen = Specimen()
    raw = b"POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n"
    async with serving(specimen.app) as live:
        replies = await live.exchange(raw + b"one" + raw + b"two")
    assert [reply.body for reply in replies] == [b"one"]
    assert [seen.body for seen in specimen.seen] == [b"one"]


@pytest.mark.parametrize("path", ["/ping", "/slow/a"])
@pytest.mark.parametrize("half_close", [False, True])
async def test_garbage_after_connection_close_changes_nothing(path, half_close):
    specimen = Specimen()
    async with serving(specimen.app) as live:
        wire = await live.connect()
        wire.send(get(path, "Connection: close") + b"GARBAGE\r\n\r\n" * 50)
        if half_close:
            wire.half_close()
        specimen.gate.set()
        replies = await wire.all()
    assert [reply.status for reply in replies] == [200]


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGVh"),
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    ],
)
@pytest.mark.parametrize("path", ["/ping", "/turns/9"])
async def test_an_upgrade_that_is_not_offered_is_answered_as_a_plain_request(fields, path):
    async with serving(Specimen().app) as live:
        replies = await live.exchange(get(path, *fields) + b"\x81\x85\x00\x00\x00\x00" * 10)
    assert [reply.status for reply in replies] == [200]
    assert replies[0].headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/echo", "/slow/a"])
async def test_an_upgrade_on_a_request_with_a_body_is_answered_as_a_plain_request(path):
    # Java's HTTP client asks for h2c on the first request of every plain connection, with a body or without.
    specimen = Specimen()
    specimen.gate.set()
    fields = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    raw = request("POST", "/echo", *fields, body=b"tea" * 1000)
    async with serving(specimen.app) as live:
        wire = await live.connect()
        wire.send(get(path) + raw[:500]) if path == "/slow/a" else wire.send(raw[:500])
        await asyncio.sleep(0)
        wire.send(raw[500:] + get("/ping"))
        if path == "/slow/a":
            assert (await wire.reply()).status == 200
        assert (await wire.reply()).body == b"tea" * 1000
        assert (await wire.reply()).json() == {"message": "pong"}


async def test_an_upgrade_with_a_chunked_body_is_answered_and_closed_where_asked():
    raw = _post(
        b"Connection: close, upgrade", b"Upgrade: h2c", b"Transfer-Encoding: chunked", body=chunked(b"te", b"a")
    )
    async with serving(Specimen().app) as live:
        (reply,) = await live.exchange(raw)
    assert reply.body == b"tea"
    assert reply.headers["connection"] == "close"


async def test_connect_is_no_method_of_ours():
    async with serving(Specimen().app) as live:
        replies = await live.exchange(b"CONNECT tea.example:443 HTTP/1.1\r\nHost: tea.example\r\n\r\n\x16\x03\x01")
    assert len(replies) == 1
    assert 400 <= replies[0].status < 500
    assert replies[0].problem


async def test_trace_is_not_echoed():
    async with serving(Specimen().app) as live:
        reply = await live.ask(request("TRACE", "/ping", "X-Secret: s"))
    assert reply.status == 405
    assert b"X-Secret" not in reply.body


async def test_repeated_fields_are_joined_in_order():
    specimen = Specimen()
    raw = request("POST", "/echo", "X-A: 1", "X-A: 2", "Cookie: a=1", "cookie: b=2", body=b"")
    async with serving(specimen.app) as live:
        await live.ask(raw)
    assert specimen.seen[0].header("X-A") == "1, 2"
    assert specimen.seen[0].header("cookie") == "a=1; b=2"


@pytest.mark.parametrize("name", ["Authorization", "Content-Type", "Idempotency-Key", "Origin"])
async def test_a_field_that_has_one_value_may_not_be_repeated(name):
    async with serving(Specimen().app) as live:
        replies = await live.exchange(get("/ping", f"{name}: a", f"{name}: b"))
    assert [reply.status for reply in replies] == [400]


async def test_expect_100_continue_is_invited_and_answered():
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        head, body = request("POST", "/echo", "Expect: 100-continue", body=b"tea")[:-3], b"tea"
        wire.send(head)
        assert (await wire.reply()).status == 100
        wire.send(body)
        assert (await wire.reply()).body == b"tea"


async def test_expect_100_continue_behind_a_request_under_way_is_answered_in_order():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        wire = await live.connect()
        wire.send(get("/slow/a") + request("POST", "/echo", "Expect: 100-continue", body=b"tea")[:-3])
        await eventually(lambda: specimen.entered)
        specimen.gate.set()
        first = await wire.reply()
        assert first.json() == {"slow": "a"}
        assert (await wire.reply()).status == 100
        wire.send(b"tea")
        assert (await wire.reply()).body == b"tea"


async def test_another_expectation_fails():
    async with serving(Specimen().app) as live:
        replies = await live.exchange(request("POST", "/echo", "Expect: teapot", body=b"x"))
    assert [reply.status for reply in replies] == [417]
