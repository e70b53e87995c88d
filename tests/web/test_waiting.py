"""Plain handlers and providers that answer at once most times, and now and then have to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import msgspec
import pytest

from teahouse.problems import SoldOut
from teahouse.web import App, Maybe, Request, TestClient
from teahouse.web.openapi import describe
from tests.web.wire import get, serving


class Tea(msgspec.Struct):
    name: str


async def brewed(name: str) -> Tea:
    await asyncio.sleep(0)
    return Tea(name)


def as_future(name: str) -> asyncio.Future[Tea]:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, Tea(name))
    return future


def as_task(name: str) -> asyncio.Task[Tea]:
    return asyncio.get_running_loop().create_task(brewed(name))


WAYS = [brewed, as_future, as_task, lambda name: asyncio.shield(as_task(name))]


class Cellar:
    """An app whose handlers and providers have what they are asked for, or wait for it."""

    def __init__(self, wait: Any = brewed) -> None:
        self.app = App()
        self.wait = wait
        self.app.provide(Tea, self.tea)

    def tea(self, request: Request) -> Maybe[Tea]:
        name = request.header("x-tea") or "none"
        return self.wait(name) if request.header("x-wait") else Tea(name)


@pytest.mark.parametrize("wait", WAYS)
async def test_a_plain_handler_may_answer_at_once_or_later(wait):
    app = App()

    @app.get("/tea/{name}")
    def tea(name: str) -> Maybe[Tea]:
        return wait(name) if name == "oolong" else Tea(name)

    async with TestClient(app) as client:
        assert (await client.get("/tea/green")).json() == {"name": "green"}
        assert (await client.get("/tea/oolong")).json() == {"name": "oolong"}


async def test_an_answer_at_hand_makes_no_task():
    cellar, tasks = Cellar(), []

    @cellar.app.get("/tea")
    def drink(tea: Tea) -> Tea:
        return tea

    async with serving(cellar.app) as live:
        live.server.run, run = lambda work: (tasks.append(work), run(work)), live.server.run
        assert (await live.ask(get("/tea", "X-Tea: green"))).status == 200
        assert tasks == []
        assert (await live.ask(get("/tea", "X-Tea: green", "X-Wait: 1"))).status == 200
        assert len(tasks) == 1


@pytest.mark.parametrize("wait", WAYS)
@pytest.mark.parametrize("headers", [{}, {"X-Wait": "1"}])
async def test_a_providers_value_comes_at_once_or_later_in_every_signature(wait, headers):
    cellar = Cellar(wait)

    def alone(tea: Tea) -> list[Any]:
        return [tea.name]

    def first(tea: Tea, cup: str) -> list[Any]:
        return [tea.name, cup]

    def first_of_four(tea: Tea, cup: str, size: int, sugar: int = 0) -> list[Any]:
        return [tea.name, cup, size, sugar]

    def last(cup: str, tea: Tea) -> list[Any]:
        return [cup, tea.name]

    def twice(tea: Tea, cup: str, other: Tea) -> list[Any]:
        return [tea.name, cup, other.name]

    def both_wait(tea: Tea, cup: str) -> Maybe[list[Any]]:
        async def later() -> list[Any]:
            return [tea.name, cup, "later"]

        return later()

    async def in_a_coroutine(tea: Tea, cup: str) -> list[Any]:
        return [tea.name, cup, "coroutine"]

    def by_name(*, tea: Tea, cup: str) -> list[Any]:
        return [tea.name, cup]

    expected = {
        alone: ["green"],
        first: ["green", "c"],
        first_of_four: ["green", "c", 2, 0],
        last: ["c", "green"],
        twice: ["green", "c", "green"],
        both_wait: ["green", "c", "later"],
        in_a_coroutine: ["green", "c", "coroutine"],
        by_name: ["green", "c"],
    }
    for handler in expected:
        cellar.app.get(f"/{handler.__name__}")(handler)
    async with TestClient(cellar.app) as client:
        for handler, answer in expected.items():
            got = await client.get(f"/{handler.__name__}?cup=c&size=2", headers={"X-Tea": "green", **headers})
            assert (handler.__name__, got.status, got.body and got.json()) == (handler.__name__, 200, answer)


@pytest.mark.parametrize("where", ["provider", "handler"])
async def test_a_problem_raised_after_waiting_is_the_answer(where):
    async def refuse(name: str) -> Tea:
        await asyncio.sleep(0)
        raise SoldOut(f"no {name} is left")

    cellar = Cellar(refuse)
    seen = []

    def drink(tea: Tea) -> Maybe[Tea]:
        seen.append(tea)
        return refuse("oolong")

    cellar.app.get("/tea")(drink)
    async with TestClient(cellar.app) as client:
        waits = {"X-Wait": "1"} if where == "provider" else {}
        answer = await client.get("/tea", headers={"X-Tea": "oolong", **waits})
        assert (answer.status, answer.json()["detail"]) == (409, "no oolong is left")
        assert len(seen) == (where == "handler")


async def test_a_fault_after_waiting_is_a_500_and_the_worker_lives(caplog):
    async def break_down(name: str) -> Tea:
        await asyncio.sleep(0)
        raise KeyError(name)

    cellar = Cellar(break_down)

    def drink(tea: Tea) -> Tea:
        return tea

    cellar.app.get("/tea")(drink)
    async with TestClient(cellar.app) as client:
        assert (await client.get("/tea", headers={"X-Wait": "1"})).status == 500
        assert (await client.get("/tea")).status == 200
    assert len(caplog.records) == 1


async def test_what_waits_does_not_overtake_in_a_pipeline():
    gate = asyncio.Event()

    async def once_open(name: str) -> Tea:
        await gate.wait()
        return Tea(name)

    app = App()

    @app.get("/tea/{name}")
    def tea(name: str) -> Maybe[Tea]:
        return once_open(name) if name == "slow" else Tea(name)

    async with serving(app) as live:
        wire = await live.connect()
        wire.send(get("/tea/slow") + get("/tea/quick"))
        gate.set()
        assert b"slow" in (await wire.reply()).body
        assert b"quick" in (await wire.reply()).body


async def test_a_stop_cancels_what_waits_too_long_and_leaves_nothing_behind():
    entered, cancelled = asyncio.Event(), []

    async def forever(name: str) -> Tea:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(name)
            raise
        raise AssertionError

    cellar = Cellar(forever)

    def drink(tea: Tea) -> Tea:
        return tea

    cellar.app.get("/tea")(drink)
    async with serving(cellar.app) as live:
        wire = await live.connect()
        wire.send(get("/tea", "X-Tea: green", "X-Wait: 1"))
        await entered.wait()
        await live.server.stop(0.01)
        assert await wire.ended()
    assert cancelled == ["green"]


@pytest.mark.parametrize("kind", [Maybe[Tea], Tea | Awaitable[Tea], Awaitable[Tea], Maybe[Tea | None], Tea])
async def test_the_interface_shows_the_answer_and_not_that_it_may_come_later(kind):
    app = App()

    def tea() -> Any:
        return Tea("green")

    tea.__annotations__["return"] = kind
    app.get("/tea")(tea)
    app.compile()
    schema = describe(app)["paths"]["/tea"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert "#/components/schemas/Tea" in msgspec.json.encode(schema).decode()
    assert ("null" in msgspec.json.encode(schema).decode()) == (kind == Maybe[Tea | None])
