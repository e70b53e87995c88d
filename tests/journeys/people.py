"""Who goes on the journeys: buyers, an admin, and what they do again and again."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from teahouse.web.client import Answer, Client
from tests.journeys.servers import Running, teahouse

BOSS = "boss"
PASSWORD = "a long walk to the teahouse"

_numbers = itertools.count()


def fresh(kind: str = "guest") -> str:
    """A name nobody has yet, without a hyphen."""
    return f"{kind}{next(_numbers)}x{secrets.token_hex(4)}"


def hire_boss(directory: Path) -> None:
    """Makes the account of the admin ``BOSS`` with its ``PASSWORD``."""
    done = teahouse(
        "user", "create", BOSS, "--role", "admin", "--password-stdin", "--data-dir", "data", cwd=directory,
        stdin=PASSWORD,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


class Person:
    """Somebody at a client, logged in where there are ``tokens``."""

    def __init__(self, client: Client, tokens: dict[str, Any] | None = None) -> None:
        self.client = client
        self.tokens = tokens or {}

    @property
    def id(self) -> str:
        """The user's id."""
        return str(self.tokens["user"]["id"])

    @property
    def token(self) -> str:
        """The access token; empty where nobody is logged in."""
        return str(self.tokens.get("accessToken", ""))

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        """One request as this person."""
        options.setdefault("token", self.token)
        return await self.client.request(method, path, **options)

    async def get(self, path: str, **options: Any) -> Answer:
        """GET as this person."""
        return await self.ask("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        """POST as this person."""
        return await self.ask("POST", path, **options)

    async def put(self, path: str, **options: Any) -> Answer:
        """PUT as this person."""
        return await self.ask("PUT", path, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        """DELETE as this person."""
        return await self.ask("DELETE", path, **options)

    async def buy(self, sale: dict[str, Any], key: str, quantity: int = 1, **options: Any) -> Answer:
        """A purchase."""
        headers = {"Idempotency-Key": key}
        return await self.post(
            f"/v1/sales/{sale['id']}/purchases", json={"quantity": quantity}, headers=headers, **options
        )


async def log_in(client: Client, name: str = "") -> Person:
    """Somebody who came through the sandbox's WeChat; a new one where no name is given."""
    code = f"sandbox-{name or fresh()}-{secrets.token_hex(8)}"
    answer = await client.post("/v1/auth/wechat", json={"code": code})
    assert answer.status == 200, answer.body
    return Person(client, answer.json())


async def log_in_boss(client: Client) -> Person:
    """The admin."""
    answer = await client.post("/v1/auth/password", json={"username": BOSS, "password": PASSWORD})
    assert answer.status == 200, answer.body
    return Person(client, answer.json())


async def put_on_sale(boss: Person, **terms: Any) -> dict[str, Any]:
    """A new sale of a new product, open now unless the terms say otherwise."""
    product = await boss.post("/v1/products", json={"name": "Longjing", "price": 8800})
    assert product.status == 201, product.body
    return await put_again_on_sale(boss, product.json()["id"], **terms)


async def put_again_on_sale(boss: Person, product_id: str, **terms: Any) -> dict[str, Any]:
    """A new sale of that product."""
    answer = await boss.post("/v1/sales", json=sale_terms(product_id, **terms))
    assert answer.status == 201, answer.body
    return dict(answer.json())


def sale_terms(product_id: str, **terms: Any) -> dict[str, Any]:
    """The body of a sale that is open now for an hour, ten items, two for each buyer."""
    now = datetime.now(UTC)
    usual = {
        "productId": product_id,
        "stock": 10,
        "price": 6600,
        "startsAt": (now - timedelta(minutes=1)).isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "perBuyerLimit": 2,
        "payWithinSeconds": 900,
    }
    return {**usual, **terms}


async def books(boss: Person, sale: dict[str, Any]) -> dict[str, Any]:
    """The sale's reconciliation, which must always come out even."""
    answer = await boss.get(f"/v1/sales/{sale['id']}/reconciliation")
    assert answer.status == 200, answer.body
    found = answer.json()
    assert found["difference"] == 0, found
    assert found["remaining"] + found["reserved"] + found["sold"] == found["initial"], found
    assert found["orders"] == found["reserved"] + found["sold"], found
    return dict(found)


@asynccontextmanager
async def at(server: Running, *, connections: int = 100) -> AsyncIterator[Client]:
    """A client of that server."""
    async with Client(server.url, connections=connections, timeout=20) as client:
        yield client


def refused(answer: Answer, status: int, slug: str) -> None:
    """The answer is that problem, in the shape every problem has."""
    assert answer.status == status, (answer.status, answer.body[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["type"] == f"/problems/{slug}", document
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    well_formed(answer)


def well_formed(answer: Answer) -> None:
    """What every answer carries, and what every refusal tells."""
    assert answer.headers.get("x-request-id"), answer.headers
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json", (answer.status, answer.body[:200])
        document = answer.json()
        assert set(document) <= {"type", "title", "status", "detail", "instance", "errors"}, document
        assert document["type"].startswith("/problems/")
        assert document["status"] == answer.status
        for error in document.get("errors", []):
            assert set(error) == {"pointer", "detail"}
            assert all(isinstance(text, str) for text in error.values())
    if answer.status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    if answer.status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    if answer.status == 405:
        assert answer.headers["allow"]
