"""The access log: one JSON line for each answer, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading

import pytest

from teahouse.web import App
from teahouse.web.accesslog import AccessLog
from teahouse.web.descriptor import DescriptorWriter
from tests.web.specimen import Specimen
from tests.web.wire import eventually, get, request, serving

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def log_file(tmp_path):
    descriptor = os.open(tmp_path / "access.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield tmp_path / "access.log", descriptor
    os.close(descriptor)


@pytest.fixture
def full_pipe():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 65536)
    except BlockingIOError:
        os.set_blocking(writing, True)
    yield reading, writing
    os.close(writing)
    os.close(reading)


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_each_answer_is_one_line_written_at_the_latest_when_the_server_ends(log_file):
    path, descriptor = log_file
    async with serving(Specimen().app, access_log=descriptor) as live:
        await live.ask(get("/user/7?token=secret", "X-Request-Id: mine"))
        await live.ask(get("/nowhere"))
        await live.ask(request("DELETE", "/baskets/1"))
        await live.ask(b"NONSENSE\r\n\r\n")
    user, nowhere, drop, nonsense = lines(path)
    assert list(user) == ["time", "method", "path", "status", "bytes", "durationMs", "client", "requestId", "route"]
    assert MOMENT.fullmatch(user["time"])
    assert (user["method"], user["path"], user["status"]) == ("GET", "/user/7", 200)
    assert (user["bytes"], user["client"], user["route"]) == (10, "127.0.0.1", "/user/{id}")
    assert user["requestId"] == "mine"
    assert 0 <= user["durationMs"] < 5000
    assert (nowhere["status"], nowhere["route"]) == (404, "(unknown)")
    assert (drop["status"], drop["bytes"]) == (204, 0)
    assert (nonsense["status"], nonsense["method"], nonsense["path"]) == (400, "-", "-")


async def test_lines_are_written_soon_without_further_requests(log_file):
    path, descriptor = log_file
    async with serving(Specimen().app, access_log=descriptor) as live:
        await live.ask(get("/ping"))
        await eventually(lambda: lines(path))


async def test_a_query_never_reaches_the_log(log_file):
    path, descriptor = log_file
    async with serving(Specimen().app, access_log=descriptor) as live:
        await live.ask(get("/user/7?password=hunter2"))
        await live.ask(get("http://tea.example/user/7?password=hunter2"))
    assert "hunter2" not in path.read_text()


async def test_hostile_addresses_cannot_forge_lines(log_file):
    path, descriptor = log_file
    hostile = ['/"},{"status":200', "/%0a%0d{}", "/\x7f"[:1] + "<script>", "/\\u0000", "/%1b[31m", "/" + "%22" * 50]
    async with serving(Specimen().app, access_log=descriptor) as live:
        for target in hostile:
            await live.ask(get(target))
    assert [line["path"] for line in lines(path)] == hostile


async def test_an_enormous_address_is_logged_short(log_file):
    path, descriptor = log_file
    async with serving(Specimen().app, access_log=descriptor) as live:
        for _ in range(20):
            await live.ask(get("/user/" + "a" * 900_000))
    assert len(lines(path)) == 20
    assert path.stat().st_size < 200_000


async def test_a_thousand_lines_keep_their_order(log_file):
    path, descriptor = log_file
    async with serving(Specimen().app, access_log=descriptor) as live:
        wire = await live.connect()
        for start in range(0, 2000, 50):
            wire.send(b"".join(get(f"/user/{number}") for number in range(start, start + 50)))
            await wire.replies(50)
    assert [line["path"] for line in lines(path)] == [f"/user/{number}" for number in range(2000)]


async def test_a_refused_body_is_logged_under_its_route(log_file):
    path, descriptor = log_file
    async with serving(Specimen().app, access_log=descriptor) as live:
        await live.exchange(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
    (line,) = lines(path)
    assert (line["status"], line["route"], line["method"]) == (413, "/echo", "POST")


async def test_a_full_pipe_holds_up_neither_answers_nor_the_end(full_pipe):
    _reading, writing = full_pipe
    loop = asyncio.get_running_loop()
    async with serving(Specimen().app, access_log=writing) as live:
        wire = await live.connect()
        began = loop.time()
        for _ in range(20):
            wire.send(get("/ping") * 50)
            assert {reply.status for reply in await wire.replies(50)} == {200}
        assert loop.time() - began < 3
        began = loop.time()
    assert loop.time() - began < 10
    os.read(_reading, 1_000_000)


async def test_what_waits_for_a_full_pipe_is_bounded_and_the_rest_is_counted(full_pipe):
    reading, writing = full_pipe
    writer = DescriptorWriter(writing, name="test", max_waiting=10_000)
    taken = [writer.write(b"x" * 999 + b"\n") for _ in range(50)]
    assert taken.count(True) == 10
    assert writer.dropped == 40
    assert not writer.close(0.05)
    os.set_blocking(reading, False)
    await eventually(lambda: _drained(reading) and not writer._thread.is_alive())


async def test_lines_lost_to_a_broken_pipe_are_counted_and_nothing_else_breaks():
    reading, writing = os.pipe()
    os.close(reading)
    async with serving(Specimen().app, access_log=writing) as live:
        wire = await live.connect()
        wire.send(get("/ping") * 30)
        await wire.replies(30)
        await eventually(lambda: live.server.log.dropped == 30)
        metrics = (await live.ask(get("/metrics"))).body
        dropped = re.search(rb"^teahouse_access_log_dropped_total (\S+)$", metrics, re.MULTILINE)
        assert float(dropped[1]) >= 30
    os.close(writing)


async def test_the_writer_writes_what_it_was_given_before_it_closes(log_file):
    path, descriptor = log_file
    log = AccessLog(descriptor)
    for number in range(1000):
        log.add(1_767_225_600.9996, "GET", f"/{number}", 200, 1, 0.0015, "::1", b"id", "/{n}")
    await log.aclose()
    written = lines(path)
    assert [line["path"] for line in written] == [f"/{number}" for number in range(1000)]
    assert written[0]["time"] == "2026-01-01T00:00:00.999Z"
    assert written[0]["durationMs"] == 1.5


async def test_the_writers_thread_ends_with_the_log(log_file):
    _path, descriptor = log_file
    log = AccessLog(descriptor)
    await log.aclose()
    assert not [
        thread for thread in threading.enumerate() if thread.name == "access-log" and thread is log._writer._thread
    ]


async def test_without_a_descriptor_nothing_is_kept():
    async with serving(App()) as live:
        assert (await live.ask(get("/healthz"))).status == 200
        assert live.server.log.dropped == 0


def _drained(reading: int) -> bool:
    try:
        while os.read(reading, 65536):
            pass
    except BlockingIOError:
        pass
    return True
