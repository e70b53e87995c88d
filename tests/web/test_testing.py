"""The test client speaks through the real connection, and never leaves a test hanging."""

from __future__ import annotations

import asyncio

import pytest

from teahouse.problems import SoldOut
from teahouse.web import App, Request, TestClient
from tests.web.specimen import Specimen
from tests.web.wire import small_limits


async def test_it_starts_and_stops_the_app():
    app, life = App(), []

    @app.on_start
    async def start() -> None:
        life.append("start")

    @app.on_stop
    async def stop() -> None:
        life.append("stop")

    async with TestClient(app) as client:
        assert life == ["start"]
        assert (await client.get("/readyz")).status == 200
    assert life == ["start", "stop"]


async def test_a_start_hook_that_fails_stops_the_start():
    app = App()

    @app.on_start
    async def start() -> None:
        raise RuntimeError("no kettle")

    with pytest.raises(RuntimeError, match="no kettle"):
        await TestClient(app).__aenter__()


async def test_it_speaks_every_method_with_json_bytes_and_headers():
    specimen = Specimen()
    async with TestClient(specimen.app) as client:
        assert (await client.post("/echo", body=b"\x00\xff")).body == b"\x00\xff"
        assert (await client.post("/echo", json={"a": "茶"})).json() == {"a": "茶"}
        assert specimen.seen[-1].header("content-type") == "application/json"
        assert (await client.put("/echo")).status == 405
        assert (await client.delete("/baskets/1")).status == 204
        assert (await client.request("HEAD", "/ping")).headers["content-length"] == "18"
        assert (await client.request("OPTIONS", "/ping")).headers["allow"] == "GET, HEAD, OPTIONS"


async def test_requests_side_by_side_do_not_wait_for_each_other():
    specimen = Specimen()
    async with TestClient(specimen.app) as client:
        slow = asyncio.create_task(client.get("/slow/a"))
        await asyncio.sleep(0)
        assert (await client.get("/ping")).status == 200
        assert not slow.done()
        specimen.gate.set()
        assert (await slow).json() == {"slow": "a"}


async def test_an_invitation_to_continue_is_not_taken_for_the_answer():
    async with TestClient(Specimen().app) as client:
        answer = await client.post("/echo", body=b"tea", headers={"Expect": "100-continue"})
    assert (answer.status, answer.body) == (200, b"tea")


async def test_the_callers_address_can_be_chosen():
    app = App()

    @app.get("/from")
    def origin(request: Request) -> dict[str, str]:
        return {"address": request.client_address}

    async with TestClient(app, client="192.0.2.1") as client:
        assert (await client.get("/from")).json() == {"address": "192.0.2.1"}
        assert (await client.get("/from", client="192.0.2.2")).json() == {"address": "192.0.2.2"}


async def test_limits_hold_as_over_a_socket():
    async with TestClient(Specimen().app, limits=small_limits()) as client:
        assert (await client.post("/echo", body=b"x" * 5000)).status == 413
        assert (await client.get("/ping", headers={"X": "v" * 5000})).status == 431


async def test_a_connection_that_is_cut_without_an_answer_raises():
    specimen = Specimen()
    async with asyncio.timeout(5):
        async with TestClient(specimen.app) as client:
            asking = asyncio.create_task(client.get("/slow/a"))
            while not specimen.entered:
                await asyncio.sleep(0)
            for connection in list(client._server._connections):
                connection.abort()
            with pytest.raises(ConnectionError):
                await asking
            specimen.gate.set()


async def test_ready_checks_say_what_is_missing():
    app, engines = App(), {"up": False}

    async def check() -> None:
        if not engines["up"]:
            raise SoldOut("no tea leaves")

    async def broken() -> None:
        raise ZeroDivisionError

    app.ready_check("leaves", check)
    async with TestClient(app) as client:
        answer = await client.get("/readyz")
        assert (answer.status, answer.json()["detail"]) == (503, "leaves: no tea leaves")
        assert answer.json()["type"] == "/problems/not-ready"
        assert (await client.get("/healthz")).status == 200
        engines["up"] = True
        assert (await client.get("/readyz")).status == 200
        app.ready_check("water", broken)
        assert (await client.get("/readyz")).json()["detail"] == "water: ZeroDivisionError"
