"""The same attacks as clients see them: what a node of several answers over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from teahouse.accounts import Admin, Caller, install
from teahouse.accounts.accounts_sql import create_user
from teahouse.web import App, TestClient
from tests.accounts.conftest import CHEAP
from tests.accounts.nodes import SETTINGS, Node, node_on
from tests.proxies import Proxy, proxy_to

ROOT = {"username": "root", "password": "correct horse battery"}


@dataclass
class Door:
    """A node with its routes."""

    node: Node
    client: TestClient

    async def log_in(self, name: str = "ada") -> dict:
        answer = await self.client.post(
            "/v1/auth/wechat", json={"code": f"sandbox-{name}-{id(self)}{time.monotonic_ns()}"}
        )
        assert answer.status == 200
        return answer.json()

    async def ask(self, path: str, tokens: dict, method: str = "GET"):
        return await self.client.request(method, path, headers={"Authorization": f"Bearer {tokens['accessToken']}"})

    async def told(self, path: str, tokens: dict) -> tuple[int, str]:
        answer = await self.ask(path, tokens)
        return answer.status, answer.json().get("type", "").removeprefix("/problems/")


@pytest.fixture
def proxy(redis_shared):
    with proxy_to(redis_shared.port) as proxy:
        yield proxy


@pytest.fixture
async def doors(redis_shared, database, proxy) -> AsyncIterator[tuple[Door, Door]]:
    """A node, and one whose way to Redis leads through the proxy."""
    async with AsyncExitStack() as stack:
        doors = []
        for url in (redis_shared.url, proxy.through(redis_shared.url)):
            node = await stack.enter_async_context(node_on(url, database, timeout_seconds=0.5))
            app = App()
            install(app, node.accounts)

            @app.get("/mine")
            def mine(caller: Caller) -> dict[str, str]:
                return {"id": caller.user_id}

            @app.get("/admin")
            def admin(admin: Admin) -> dict[str, str]:
                return {"id": admin.user_id}

            client = await stack.enter_async_context(TestClient(app))
            doors.append(Door(node, client))
        yield doors[0], doors[1]


async def becomes(door: Door, path: str, tokens: dict, told: tuple[int, str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (now := await door.told(path, tokens)) != told:
        assert time.monotonic() < deadline, now
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("path", ["/mine", "/v1/me"])
async def test_a_token_of_a_session_ended_elsewhere_is_401_within_a_second(doors, path):
    near, far = doors
    tokens = await near.log_in()
    assert (await far.ask(path, tokens)).status == 200
    assert (await near.ask("/v1/auth/logout", tokens, "POST")).status == 204
    await becomes(far, path, tokens, (401, "session-ended"), 1)


async def test_without_redis_every_route_that_asks_who_calls_is_503_and_says_when_to_come_again(
    doors, proxy: Proxy, database
):
    near, far = doors
    clock = near.node.accounts.sessions._clock
    await create_user(database, clock, **ROOT, role="admin", settings=SETTINGS)
    admin = (await near.client.post("/v1/auth/password", json=ROOT)).json()
    tokens, ended = await near.log_in(), await near.log_in()
    assert (await far.ask("/admin", admin)).status == 200
    assert await far.told("/admin", tokens) == (403, "forbidden")
    proxy.refuse()
    for path, who in (("/mine", tokens), ("/v1/me", tokens), ("/admin", admin), ("/admin", tokens), ("/mine", ended)):
        await becomes(far, path, who, (503, "redis-unavailable"), 2)
        assert (await far.ask(path, who)).headers["retry-after"]
    assert (await far.client.post("/v1/auth/password", json=ROOT)).status == 503
    assert (await far.client.post("/v1/auth/refresh", json={"refreshToken": tokens["refreshToken"]})).status == 503
    # Nobody has to be asked about a token that is wrong in itself, and pages that ask for nobody go on.
    assert (await far.ask("/mine", {"accessToken": "a.b.c"})).status == 401
    assert (await far.client.get("/healthz")).status == 200
    assert (await near.ask("/v1/auth/logout", ended, "POST")).status == 204
    proxy.accept()
    await becomes(far, "/mine", tokens, (200, ""), 10)
    assert await far.told("/mine", ended) == (401, "session-ended")
    assert (await far.ask("/admin", admin)).status == 200
    assert await far.told("/admin", tokens) == (403, "forbidden")


async def test_wrong_passwords_on_two_nodes_count_together(doors, database):
    await create_user(database, doors[0].node.accounts.sessions._clock, **ROOT, settings=SETTINGS)
    wrong = {**ROOT, "password": "wrong horse battery"}
    tries = [doors[number % 2].client.post("/v1/auth/password", json=wrong) for number in range(60)]
    statuses = [answer.status for answer in await asyncio.gather(*tries)]
    # Those whose password was being looked at when the tenth failed are answered as they began.
    assert 10 <= statuses.count(401) <= 10 + 2 * CHEAP.threads
    assert statuses.count(401) + statuses.count(429) == 60
    for door in doors:
        answer = await door.client.post("/v1/auth/password", json=ROOT)
        assert answer.status == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 90 * (1 + 2 * CHEAP.threads)
