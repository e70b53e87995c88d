"""A graceful stop: what was asked is answered, what was accepted is finished, nothing new is begun."""

from __future__ import annotations

import asyncio
import re

import pytest

from teahouse.web import App
from tests.web.specimen import Specimen
from tests.web.wire import eventually, get, post, request, serving


async def test_idle_connections_are_closed_at_once():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        fresh, used = await live.connect(), await live.connect()
        used.send(get("/ping"))
        await used.reply()
        await eventually(lambda: live.server.figures.connections == 2)
        began = asyncio.get_running_loop().time()
        await live.server.stop(5)
        assert asyncio.get_running_loop().time() - began < 1
        assert await fresh.at_end()
        assert await used.at_end()


async def test_a_request_under_way_is_answered_and_then_closed():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        wire = await live.connect()
        wire.send(get("/slow/a"))
        await eventually(lambda: specimen.entered)
        stopping = asyncio.create_task(live.server.stop(5))
        await eventually(lambda: live.server.draining)
        specimen.gate.set()
        reply = await wire.reply()
        assert reply.json() == {"slow": "a"}
        assert reply.headers["connection"] == "close"
        assert await wire.at_end()
        await stopping


async def test_a_new_connection_is_refused():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        wire = await live.connect()
        wire.send(get("/slow/a"))
        await eventually(lambda: specimen.entered)
        stopping = asyncio.create_task(live.server.stop(5))
        await eventually(lambda: live.server.draining)
        with pytest.raises(OSError, match="refused|reset|Connect"):
            await _connects_and_speaks(live)
        specimen.gate.set()
        await stopping


async def test_the_second_half_of_a_request_is_still_answered_within_the_grace():
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        raw = post("/baskets", b'{"lines":[{"productId":"p","quantity":2}]}')
        wire.send(raw[:-20])
        await eventually(lambda: any(connection.phase for connection in live.server._connections))
        stopping = asyncio.create_task(live.server.stop(5))
        await eventually(lambda: live.server.draining)
        wire.send(raw[-20:])
        reply = await wire.reply()
        assert reply.status == 201
        assert reply.headers["connection"] == "close"
        await stopping


async def test_pipelined_requests_after_the_last_answer_are_not_carried_out():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        wire = await live.connect()
        wire.send(get("/slow/a") + request("POST", "/echo", body=b"one") + request("POST", "/echo", body=b"two"))
        await eventually(lambda: specimen.entered)
        stopping = asyncio.create_task(live.server.stop(5))
        await eventually(lambda: live.server.draining)
        specimen.gate.set()
        replies = await wire.all()
        await stopping
    # Told to close, the client asks elsewhere: whatever it got no answer to must not have happened.
    assert replies[-1].headers["connection"] == "close"
    assert len(specimen.seen) == len(replies) - 1


async def test_pipelined_requests_in_one_piece_after_the_last_answer_are_not_carried_out():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        wire = await live.connect()
        raw = request("POST", "/echo", body=b"one") + request("POST", "/echo", body=b"two")
        wire.send(raw[:10])
        await eventually(lambda: any(connection.phase for connection in live.server._connections))
        stopping = asyncio.create_task(live.server.stop(5))
        await eventually(lambda: live.server.draining)
        wire.send(raw[10:])
        replies = await wire.all()
        await stopping
    assert len(replies) == len(specimen.seen) == 1


async def test_what_does_not_end_within_the_grace_is_cut():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        stuck, half = await live.connect(), await live.connect()
        stuck.send(get("/slow/a"))
        half.send(b"GET /p")
        await eventually(lambda: specimen.entered and live.server.figures.connections == 2)
        await live.server.stop(0.1)
        assert await stuck.ended()
        assert await half.ended()
        assert live.server.running == 0
    assert specimen.finished == []


async def test_stop_hooks_run_in_reverse_and_each_runs_even_where_another_failed(caplog):
    specimen = Specimen()
    ran = []

    def hook(name):
        async def run():
            ran.append(name)
            if name == "second":
                raise RuntimeError("a hook that fails")

        return run

    for name in ("first", "second", "third"):
        specimen.app.on_stop(hook(name))
    async with serving(specimen.app):
        pass
    assert ran == ["third", "second", "first"]
    [record] = caplog.records
    assert re.fullmatch("stop hook .* failed", record.message)


async def test_a_stop_hook_that_hangs_holds_up_the_next_one_for_the_given_time_only(caplog):
    app, ran = App(), []

    async def last() -> None:
        ran.append("last")

    async def hang() -> None:
        await asyncio.Event().wait()

    app.on_stop(last)
    app.on_stop(hang)
    await app.startup()
    await app.shutdown(0.05)

    assert ran == ["last"]
    assert "hang failed" in caplog.text


async def test_stop_hooks_run_after_the_last_request_and_its_work():
    specimen = Specimen()
    ran = []

    async def stop():
        ran.append(list(specimen.finished))

    specimen.app.on_stop(stop)
    async with serving(specimen.app) as live:
        wire = await live.connect()
        wire.send(get("/slow/a") + request("POST", "/later", body=b""))
        await eventually(lambda: specimen.entered)
        asyncio.get_running_loop().call_later(0.05, specimen.gate.set)
        await wire.replies(2)
    assert ran == [["a", "work"]]


async def test_readiness_ends_when_the_stop_begins():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        assert (await live.ask(get("/readyz"))).status == 200
        wire = await live.connect()
        wire.send(get("/slow/a") + get("/readyz") + get("/healthz"))
        await eventually(lambda: specimen.entered)
        live.server.draining = True
        specimen.gate.set()
        assert (await wire.reply()).headers["connection"] == "close"
        live.server.draining = False


async def _connects_and_speaks(live):
    wire = await live.connect()
    wire.send(get("/ping"))
    try:
        await wire.reply()
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("reset") from error
