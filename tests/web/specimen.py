"""A small app that uses everything the kernel offers; what most kernel tests talk to."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec

from teahouse.problems import SoldOut
from teahouse.web import App, Background, Header, Request, Response


class Line(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    product_id: str
    quantity: Annotated[int, msgspec.Meta(ge=1, le=99)]


class Basket(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    lines: Annotated[list[Line], msgspec.Meta(min_length=1, max_length=20)]
    note: Annotated[str, msgspec.Meta(max_length=200)] = ""
    paid_fen: int = 0


class Receipt(msgspec.Struct, rename="camel"):
    total_quantity: int
    note: str


class Caller(msgspec.Struct):
    """What a provider makes of the Authorization field."""

    name: str


class Specimen:
    """The app and the switches of its handlers."""

    def __init__(self) -> None:
        self.app = App(title="Specimen", version="1", description="For tests")
        self.gate = asyncio.Event()
        self.entered: list[str] = []
        self.finished: list[str] = []
        self.seen: list[Request] = []
        self.app.provide(Caller, self._caller, security="bearer")
        self.app.security_schemes["bearer"] = {"type": "http", "scheme": "bearer"}
        self._install()

    async def _caller(self, request: Request) -> Caller:
        await asyncio.sleep(0)
        return Caller(request.header("authorization") or "nobody")

    def _install(self) -> None:
        app = self.app

        @app.get("/ping")
        def ping() -> dict[str, str]:
            """Say that the server is there."""
            return {"message": "pong"}

        @app.get("/user/{id}")
        def user(id: str) -> dict[str, str]:
            return {"id": id}

        @app.get("/user/me")
        def me() -> dict[str, str]:
            return {"me": "literal"}

        @app.get("/slow/{name}")
        async def slow(name: str) -> dict[str, str]:
            """Waits until the test opens the gate."""
            self.entered.append(name)
            await self.gate.wait()
            self.finished.append(name)
            return {"slow": name}

        @app.get("/turns/{count}")
        async def turns(count: int) -> dict[str, int]:
            """Lets the loop turn so often, then answers."""
            for _ in range(min(count, 1000)):
                await asyncio.sleep(0)
            return {"turns": count}

        @app.get("/big/{size}")
        def big(size: int) -> Response:
            return Response(200, b"x" * size, content_type="application/octet-stream")

        @app.post("/baskets", status=201, tags=("baskets",), problems=(SoldOut,))
        async def put_together(body: Basket) -> Receipt:
            """Take a basket."""
            return Receipt(sum(line.quantity for line in body.lines), body.note)

        @app.post("/echo", hidden=True)
        def echo(request: Request) -> Response:
            self.seen.append(request)
            return Response(200, request.body, content_type="application/octet-stream")

        @app.get("/search")
        def search(
            q: str,
            limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20,
            *,
            in_stock: bool = False,
            tags: list[str] = [],  # noqa: B006  # never changed
        ) -> dict[str, Any]:
            return {"q": q, "limit": limit, "inStock": in_stock, "tags": tags}

        @app.get("/headers")
        def headers(
            key: Annotated[str, Header("Idempotency-Key")],
            count: Annotated[Annotated[int, msgspec.Meta(ge=0)] | None, Header("X-Count")] = None,
        ) -> dict[str, Any]:
            return {"key": key, "count": count}

        @app.get("/whoami")
        def whoami(caller: Caller) -> dict[str, str]:
            return {"name": caller.name}

        @app.get("/boom")
        def boom() -> dict[str, str]:
            raise RuntimeError("the kettle is broken")

        @app.get("/boom/later")
        async def boom_later() -> dict[str, str]:
            await asyncio.sleep(0)
            raise RuntimeError("the kettle broke later")

        @app.delete("/baskets/{id}")
        async def drop(id: str) -> None:
            return None

        @app.post("/later", status=202)
        def later(background: Background) -> dict[str, str]:
            async def run() -> None:
                self.entered.append("work")
                await self.gate.wait()
                self.finished.append("work")

            async def hand_back() -> None:
                self.finished.append("handed back")

            background.add(run, hand_back=hand_back, name="later")
            return {"status": "accepted"}


def pointers(answer) -> list[str]:
    """The places that a 422 names."""
    assert answer.status == 422, answer.body
    document = answer.json()
    assert document["type"] == "/problems/validation-failed"
    assert all(error["detail"] for error in document["errors"])
    return [error["pointer"] for error in document["errors"]]
