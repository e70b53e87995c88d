"""The load against a server that fails on purpose: what is missing is seen, and what cannot be played says why."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from teahouse.load import LoadFailed, NoProgress, Plan, Report, play
from tests.load.gateways import FakeTeahouse, pretending

SMALL = Plan(connections=6, room_size=3, rate=200.0, seconds=0.1, patience=0.3)


async def load(fake: FakeTeahouse, plan: Plan = SMALL, pid: int | None = None) -> Report:
    return await play(plan, url=fake.url, realtime_url=fake.realtime_url, pid=pid, progress=NoProgress())


async def test_everybody_hears_everything_and_the_figures_say_so():
    async with pretending() as fake:
        report = await load(fake, pid=os.getpid())
    assert report.complete
    assert (report.held, report.lost, report.refused) == (6, {}, {})
    assert (report.planned, report.sent, report.acknowledged) == (20, 20, 20)
    assert (report.expected, report.delivered, report.delivered_ratio) == (40, 40, 1.0)
    assert (report.to_ack.count, report.to_receivers.count) == (20, 40)
    assert 0 < report.to_receivers.p50 <= report.to_receivers.p99 <= report.to_receivers.max
    assert report.server is not None
    assert report.server.memory_connected > 1 << 20


async def test_pings_are_answered_and_every_socket_says_goodbye():
    async with pretending() as fake:
        await load(fake)
        assert fake.pongs == [b"are you there?"] * 6
        assert fake.goodbyes == [b"\x03\xe8"] * 6


async def test_a_server_that_is_busy_is_asked_again():
    async with pretending("is busy") as fake:
        report = await load(fake)
        assert fake.turned_away
    assert report.complete


async def test_members_of_all_rooms_speak_in_turn():
    async with pretending() as fake:
        report = await load(fake, SMALL._replace(connections=7, room_size=3))
        assert [len(each) for each in fake.rooms.values()] == [3, 4]
        assert list(fake.seqs.values()) == [10, 10]
    assert report.expected == 10 * 2 + 10 * 3


@pytest.mark.parametrize(
    ("fault", "missing"), [("loses a message", 1), ("refuses a message", 2), ("cuts sockets", None)]
)
async def test_what_somebody_did_not_hear_is_missing(fault: str, missing: int | None):
    async with pretending(fault) as fake:
        report = await load(fake)
    assert not report.complete
    assert report.delivered < report.expected
    if missing is not None:
        assert report.expected - report.delivered == missing
        assert report.held == 6


async def test_what_the_server_refuses_is_told_by_its_problem():
    async with pretending("refuses a message") as fake:
        report = await load(fake)
    assert report.refused == {"too-many-frames": 1}
    assert report.acknowledged == report.sent - 1


@pytest.mark.parametrize(
    ("fault", "figure"),
    [("says it twice", "doubled"), ("has no order", "disordered"), ("loses an ack", "acknowledged")],
)
async def test_delivering_everything_is_not_enough(fault: str, figure: str):
    async with pretending(fault) as fake:
        report = await load(fake)
    assert report.delivered == report.expected
    assert not report.complete
    wrong = report.sent - report.acknowledged if figure == "acknowledged" else getattr(report, figure)
    assert wrong > 0


@pytest.mark.parametrize(("fault", "code"), [("cuts sockets", 1006), ("closes sockets", 4408), ("sends parts", 1002)])
async def test_lost_sockets_are_told_by_their_close_code(fault: str, code: int):
    async with pretending(fault) as fake:
        report = await load(fake)
    assert (report.held, report.lost) == (5, {code: 1})
    assert not report.complete


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no sandbox", "People cannot log in .* wechat-code-invalid: WeChat says no.* `teahouse serve` without"),
        ("not ready", "GET /readyz says 503. Start one with `teahouse serve`"),
        ("has no rooms", "POST /v1/rooms: 404"),
        ("gives no token", "POST /v1/auth/wechat: the answer's JSON is not as expected"),
        ("refuses", "Socket 1 cannot be had .* answered with 503. It takes no more: see messages.connections"),
        ("another key", "did not prove that it speaks WebSocket.*--realtime-url must be"),
        ("closes before the welcome", "before the welcome .close code 1013"),
    ],
)
async def test_what_cannot_be_played_says_what_to_do(fault: str, words: str):
    async with pretending(fault) as fake:
        with pytest.raises(LoadFailed, match=words):
            await load(fake)


async def test_http_where_websockets_should_be_says_what_to_do():
    async with pretending() as fake:
        fake.realtime_url = fake.url.replace("http", "ws")
        with pytest.raises(LoadFailed, match="--realtime-url must be a Teahouse's realtime port"):
            await load(fake)


async def test_nobody_where_websockets_should_be_says_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with pretending() as fake:
        fake.realtime_url = f"ws://127.0.0.1:{port}"
        with pytest.raises(LoadFailed, match=f"at ws://127.0.0.1:{port}: .*--realtime-url must be"):
            await load(fake)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ws://", "127.0.0.1:8001", "ws://a:b", "ws://x/?token=1"])
async def test_an_address_that_is_none_is_told_before_anything_is_asked(url: str):
    with pytest.raises(LoadFailed, match="is not an address such as ws://127.0.0.1:8001"):
        await play(SMALL, url="http://127.0.0.1:1", realtime_url=url, pid=None, progress=NoProgress())


async def test_a_process_that_is_not_there_is_told():
    async with pretending() as fake:
        with pytest.raises(LoadFailed, match="there is no process 4194999"):
            await load(fake, pid=4194999)


async def test_more_sockets_than_open_files_is_told_before_anything_is_asked():
    with pytest.raises(LoadFailed, match="raise the limit .ulimit -Hn"):
        await play(
            SMALL._replace(connections=50_000_000),
            url="http://127.0.0.1:1",
            realtime_url="ws://127.0.0.1:1",
            pid=None,
            progress=NoProgress(),
        )


async def test_a_load_that_is_cancelled_says_goodbye_on_every_socket():
    async with pretending() as fake:
        task = asyncio.create_task(load(fake, SMALL._replace(seconds=600.0)))
        async with asyncio.timeout(10):
            while sum(fake.seqs.values()) < 5:
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert fake.goodbyes == [b"\x03\xe8"] * 6
