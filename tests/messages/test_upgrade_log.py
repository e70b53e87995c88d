"""The access log's lines about upgrades: one for each answer, and nothing secret in any of them."""

from __future__ import annotations

import asyncio
import json
import os
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from teahouse.messages.assembling import WireLimits
from teahouse.web.accesslog import AccessLog, NullAccessLog
from tests.messages.gateways import Served, eventually, serving

FIELDS = {"time", "method", "path", "status", "bytes", "durationMs", "client", "requestId", "route"}


class Beside:
    """The HTTP server, as far as a gateway knows it."""

    def __init__(self, path: Path, *trusted: str) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.log: AccessLog | NullAccessLog = AccessLog(self._descriptor)
        self.trusted = tuple(ip_network(each) for each in trusted)

    async def lines(self) -> list[dict[str, Any]]:
        """What was written, once no more is."""
        await self.log.aclose()
        os.close(self._descriptor)
        return [json.loads(line) for line in self._path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Beside:
    return Beside(tmp_path / "access.log")


async def test_an_upgrade_is_a_line_like_that_of_a_request(log: Beside):
    async with serving(beside=log) as served:
        answer = await served.ask(token="ann")
        assert answer.status == 101
    (line,) = await log.lines()
    assert line.keys() == FIELDS
    # The clock that only the test moves.
    assert line["time"] == "2026-01-01T00:00:00.000Z"
    told = {name: line[name] for name in ("method", "path", "status", "bytes", "client", "route")}
    assert told == {
        "method": "GET", "path": "/message", "status": 101, "bytes": 0, "client": "127.0.0.1", "route": "/message",
    }  # fmt: skip
    assert 0 <= line["durationMs"] < 10_000
    assert line["requestId"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"token": "nobody"}, ("GET", "/message", 401, "/message")),
        ({"method": "POST"}, ("POST", "/message", 405, "/message")),
        ({"target": "/elsewhere"}, ("GET", "/elsewhere", 404, "(unknown)")),
        ({"target": "http://ann:secret@tea.example/message"}, ("-", "-", 404, "-")),
        ({"drop": ("Sec-WebSocket-Key",)}, ("GET", "/message", 400, "/message")),
        ({"target": "/mess age"}, ("-", "-", 400, "-")),
    ],
)
async def test_a_refusal_is_a_line_with_its_status(log: Beside, how: dict[str, Any], expected: tuple[Any, ...]):
    async with serving(beside=log) as served:
        answer = await served.ask(**how)
    (line,) = await log.lines()
    assert (line["method"], line["path"], line["status"], line["route"]) == expected
    assert line["status"] == answer.status
    assert line["bytes"] == len(answer.body) > 0
    assert line["requestId"] == answer.headers["x-request-id"]


async def test_neither_a_token_nor_the_query_stands_in_the_log(log: Beside, tmp_path: Path):
    async with serving(beside=log) as served:
        await served.ask(token="ann", target="/message?token=sesame")
        await served.ask("Sec-WebSocket-Protocol: teahouse.v1, bearer.ben", "Cookie: sesame", token=None)
        await served.ask("Authorization: Bearer sesame", token=None, target="/message?access_token=sesame#sesame")
        await served.ask("X-Request-Id: two words of sesame", token="nobody", target="/x?sesame")
    lines = await log.lines()
    assert [line["status"] for line in lines] == [101, 101, 401, 404]
    written = (tmp_path / "access.log").read_text()
    assert not [secret for secret in ("sesame", "ann", "ben", "Bearer", "?") if secret in written]


async def test_the_callers_own_request_id_is_kept_where_it_is_one(log: Beside):
    async with serving(beside=log) as served:
        answers = [await served.ask(f"X-Request-Id: {each}") for each in ("from-nginx.7", "a b", "x" * 65)]
    lines = await log.lines()
    assert answers[0].headers["x-request-id"] == "from-nginx.7"
    assert [line["requestId"] for line in lines] == [answer.headers["x-request-id"] for answer in answers]
    assert len({line["requestId"] for line in lines}) == 3


@pytest.mark.parametrize(("trusted", "client"), [((), "127.0.0.1"), (("127.0.0.0/8",), "203.0.113.9")])
async def test_the_client_is_whom_a_trusted_proxy_names(tmp_path: Path, trusted: tuple[str, ...], client: str):
    log = Beside(tmp_path / "access.log", *trusted)
    async with serving(beside=log) as served:
        await served.ask("X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.9")
    assert [line["client"] for line in await log.lines()] == [client]


async def test_who_asks_for_nothing_in_time_or_for_too_much_is_logged_once(log: Beside):
    async with serving(beside=log, wire=WireLimits(head_bytes=1000)) as served:
        slow = await served.connect()
        slow.writer.write(b"GET /message?token=sesame HTTP/1.1\r\nAuthorization: Bearer sesame")
        await served.ask("X-Long: " + "x" * 2000)
        await until_late(served)
        await slow.reader.read()
    lines = await log.lines()
    assert sorted((line["status"], line["method"], line["path"]) for line in lines) == [
        (408, "-", "-"),
        (431, "-", "-"),
    ]


async def until_late(served: Served) -> None:
    """The one who has not asked is given up."""
    await eventually(lambda: served.gateway._connections)
    for each in list(served.gateway._connections):
        if each.is_asking:
            each.ends_at = asyncio.get_running_loop().time()
    await served.ticks(1)


async def test_who_is_gone_before_the_answer_was_not_answered(log: Beside):
    async with serving(beside=log) as served:
        client = await served.connect()
        await eventually(lambda: served.gateway._connections)
        (socket,) = served.gateway._connections
        served.gateway.asked(socket, b"GET /message HTTP/1.1\r\nHost: a")
        socket.abort()
        client.drop()
        await eventually(lambda: not served.gateway._connections)
        await eventually(lambda: not served.gateway._asking)
    assert await log.lines() == []
