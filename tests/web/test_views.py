"""A handler returns what it has, or a future as it is, and a view makes the answer of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import msgspec
import pytest

from teahouse.problems import SoldOut
from teahouse.web import App, Background, Maybe, Response, TestClient
from teahouse.web.openapi import describe
from tests.web.wire import eventually, get, serving


class Tea(msgspec.Struct):
    name: str


class Cup(msgspec.Struct):
    """A tea as it is served."""

    holds: str


def serve(tea: Tea) -> Cup:
    if tea.name == "cold":
        raise SoldOut("nobody drinks it cold")
    return Cup(tea.name)


async def brewed(name: str) -> Tea:
    await asyncio.sleep(0)
    return Tea(name)


def soon(name: str) -> asyncio.Future[Tea]:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, Tea(name))
    return future


def already(name: str) -> asyncio.Future[Tea]:
    future = asyncio.get_running_loop().create_future()
    future.set_result(Tea(name))
    return future


def app_of(way) -> App:
    app = App()

    @app.get("/tea/{name}", status=202, view=serve, problems=(SoldOut,))
    def tea(name: str) -> Maybe[Tea]:
        return way(name)

    return app


@pytest.mark.parametrize("way", [Tea, brewed, soon, already])
async def test_the_view_makes_the_answer_whenever_it_comes(way):
    async with TestClient(app_of(way)) as client:
        answer = await client.get("/tea/green")
        assert (answer.status, answer.json()) == (202, {"holds": "green"})


@pytest.mark.parametrize("way", [Tea, brewed, soon, already])
async def test_a_view_that_refuses_is_the_answer(way):
    async with TestClient(app_of(way)) as client:
        answer = await client.get("/tea/cold")
        assert (answer.status, answer.json()["detail"]) == (409, "nobody drinks it cold")


async def test_the_interface_shows_what_the_view_makes():
    app = app_of(soon)
    app.compile()
    schema = describe(app)["paths"]["/tea/{name}"]["get"]["responses"]["202"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Cup"}


async def test_a_future_makes_no_task_and_counts_as_running_until_it_is_done():
    gate: asyncio.Future[Tea] = asyncio.get_running_loop().create_future()
    app = App()

    @app.get("/tea", view=serve)
    def tea() -> Awaitable[Tea]:
        return gate

    async with serving(app) as live:
        tasks = []
        live.server.run = tasks.append
        wire = await live.connect()
        wire.send(get("/tea"))
        while not live.server.running:
            await asyncio.sleep(0)
        gate.set_result(Tea("green"))
        assert (await wire.reply()).body == b'{"holds":"green"}'
        assert (tasks, live.server.running) == ([], 0)


@pytest.mark.parametrize("error", [SoldOut("no more"), KeyError("x"), asyncio.CancelledError()])
async def test_a_future_that_fails_or_is_withdrawn_is_answered_and_its_work_is_dropped(error, caplog):
    app, done = App(), []

    @app.get("/tea")
    def tea(background: Background) -> Awaitable[Tea]:
        async def nothing() -> None:
            done.append("ran")

        background.add(nothing, hand_back=nothing)
        future: asyncio.Future[Tea] = asyncio.get_running_loop().create_future()
        if isinstance(error, asyncio.CancelledError):
            asyncio.get_running_loop().call_soon(future.cancel)
        else:
            asyncio.get_running_loop().call_soon(future.set_exception, error)
        return future

    async with TestClient(app) as client:
        assert (await client.get("/tea")).status == (409 if isinstance(error, SoldOut) else 500)
        assert (await client.get("/healthz")).status == 200
    assert (done, app.background.running) == ([], 0)


async def test_what_was_asked_behind_a_future_is_answered_after_it():
    gate: asyncio.Future[Tea] = asyncio.get_running_loop().create_future()
    app = App()

    @app.get("/tea/{name}")
    def tea(name: str) -> Maybe[Tea]:
        return gate if name == "slow" else Tea(name)

    async with serving(app) as live:
        wire = await live.connect()
        wire.send(get("/tea/slow") + get("/tea/quick"))
        while not live.server.running:
            await asyncio.sleep(0)
        gate.set_result(Tea("slow"))
        assert b"slow" in (await wire.reply()).body
        assert b"quick" in (await wire.reply()).body


async def test_a_client_that_has_gone_takes_nothing_from_the_others():
    gate: asyncio.Future[Tea] = asyncio.get_running_loop().create_future()
    app = App()

    @app.get("/tea")
    def tea() -> Awaitable[Tea]:
        return gate

    async with serving(app) as live:
        gone, stays = await live.connect(), await live.connect()
        gone.send(get("/tea"))
        stays.send(get("/tea"))
        while not live.server.running:
            await asyncio.sleep(0)
        gone.reset()
        await eventually(lambda: live.server.figures.connections == 1)
        gate.set_result(Tea("green"))
        assert (await stays.reply()).status == 200


async def test_a_stop_withdraws_a_future_that_takes_too_long():
    never: asyncio.Future[Tea] = asyncio.get_running_loop().create_future()
    app = App()

    @app.get("/tea")
    def tea() -> Awaitable[Tea]:
        return never

    async with serving(app) as live:
        wire = await live.connect()
        wire.send(get("/tea"))
        while not live.server.running:
            await asyncio.sleep(0)
        await live.server.stop(0.01)
        assert await wire.ended()
    assert never.cancelled()


async def test_a_response_passes_by_the_view():
    app = App()

    @app.get("/tea", view=serve)
    def tea() -> Response:
        return Response(204)

    async with TestClient(app) as client:
        assert (await client.get("/tea")).status == 204
