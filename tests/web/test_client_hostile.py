"""The HTTP client against servers that close, cut, stutter and lie."""

from __future__ import annotations

import asyncio

import pytest

from teahouse.web.client import BadAnswer, Client, ConnectionLost
from tests.web.scripted import OK, Script, answering, scripted, until

# --- kept connections -------------------------------------------------------------------------------------------------


def closing_when_asked_again() -> tuple[Script, list[bytes]]:
    """Answers the first request of the first connection and closes it when the second one comes."""
    lines: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = not lines
        for _ in range(2):
            try:
                lines.append((await reader.readuntil(b"\r\n\r\n")).splitlines()[0])
            except asyncio.IncompleteReadError:
                break
            if first and len(lines) == 2:
                break
            writer.write(OK)
        writer.close()

    return script, lines


@pytest.mark.parametrize(
    ("method", "headers"), [("GET", {}), ("DELETE", {}), ("POST", {"Idempotency-Key": "k"}), ("PUT", {})]
)
async def test_what_may_be_asked_twice_is_repeated_once_when_a_kept_connection_was_closed(method: str, headers: dict):
    script, lines = closing_when_asked_again()
    async with scripted(script) as url, Client(url) as client:
        await client.get("/one")
        assert (await client.request(method, "/two", headers=headers)).body == b"ok"
    assert lines == [b"GET /one HTTP/1.1", *[f"{method} /two HTTP/1.1".encode()] * 2]


async def test_what_must_not_be_asked_twice_is_not_repeated():
    script, lines = closing_when_asked_again()
    async with scripted(script) as url, Client(url) as client:
        await client.get("/one")
        with pytest.raises(ConnectionLost) as caught:
            await client.post("/two")
        assert caught.value.sent
    assert len(lines) == 2


async def test_nothing_is_repeated_on_a_fresh_connection():
    asked: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with scripted(script) as url, Client(url) as client:
        with pytest.raises(ConnectionLost):
            await client.get("/one")
    assert len(asked) == 1


async def test_an_answer_cut_in_the_middle_is_not_repeated():
    script = answering(OK, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", then_close=True)
    async with scripted(script) as url, Client(url) as client:
        await client.get("/one")
        with pytest.raises(ConnectionLost) as caught:
            await client.get("/two")
        assert caught.value.begun


async def test_a_connection_that_says_close_is_not_kept():
    script = answering(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    async with scripted(script) as url, Client(url) as client:
        for _ in range(3):
            assert (await client.get("/one")).body == b"ok"


async def test_bytes_nobody_asked_for_are_never_an_answer():
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    async with scripted(answering(OK + forged, OK)) as url, Client(url) as client:
        for _ in range(3):
            assert (await client.get("/one")).body == b"ok"


# --- hostile answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end of time",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * 99999,
        b"HTTP/1.1 200 OK\r\n" + b"X-Filler: " + b"x" * 300_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
    ],
    ids=["ssh", "status", "lengths", "negative", "chunk", "endless", "upgrade", "body", "head", "interim"],
)
async def test_a_hostile_answer_is_a_bad_answer_and_no_more(answer: bytes):
    async with scripted(answering(answer)) as url, Client(url, max_body=10_000, timeout=5) as client:
        with pytest.raises(BadAnswer):
            await client.get("/one")
        await until(lambda: client.open_connections == 0)


async def test_an_answer_may_come_in_any_pieces():
    whole = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    whole += b"Via: a\r\nVia: b\r\n\r\n2\r\nok\r\n3\r\n!!!\r\n0\r\n\r\n"

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in whole:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        await reader.read()
        writer.close()

    async with scripted(script) as url, Client(url) as client:
        answer = await client.get("/one")
        assert (answer.status, answer.body, answer.headers["via"]) == (200, b"ok!!!", "a, b")
        assert "link" not in answer.headers


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"status": "many"}'])
async def test_a_problem_that_is_none_is_a_bad_answer(body: bytes):
    head = b"HTTP/1.1 409 Conflict\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with scripted(answering(head + body)) as url, Client(url) as client:
        answer = await client.get("/one")
        with pytest.raises(BadAnswer, match="JSON"):
            _ = answer.problem


@pytest.mark.parametrize(
    ("path", "headers", "token"),
    [
        ("/a b", {}, ""),
        ("a", {}, ""),
        ("/a\r\nX: 1", {}, ""),
        ("/茶", {}, ""),
        ("/a", {"X": "1\r\nY: 2"}, ""),
        ("/a", {"X:": "1"}, ""),
        ("/a", {"X": "茶"}, ""),
        ("/a", {}, "x\r\nY: 2"),
    ],
)
async def test_what_would_smuggle_a_line_is_not_sent(path: str, headers: dict[str, str], token: str):
    async with Client("http://127.0.0.1:9") as client:
        with pytest.raises(ValueError, match="cannot be"):
            await client.get(path, headers=headers, token=token)


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://x", "http://", "http://u:p@x/", "http://x/?a=1"])
async def test_an_address_that_is_none_is_refused(url: str):
    with pytest.raises(ValueError, match="not an address"):
        Client(url)


async def test_a_closed_client_sends_nothing():
    client = Client("http://127.0.0.1:9")
    await client.aclose()
    with pytest.raises(ConnectionLost) as caught:
        await client.get("/tea/black")
    assert not caught.value.sent
