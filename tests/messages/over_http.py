"""The routes of messages over a store of their own, and requests in somebody's name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from teahouse.accounts import Caller
from teahouse.engines.sql import Database
from teahouse.messages.routes import install
from teahouse.messages.service import Messages
from teahouse.messages.store_sql import SqlMessageStore
from teahouse.problems import Unauthorized
from teahouse.web import App, TestClient
from tests.clocks import ManualClock
from tests.messages.people import PEOPLE, QuietHub, settle


def caller(request) -> Caller:
    name = request.header("x-caller")
    if name is None:
        raise Unauthorized
    return Caller(user_id=name, session_id="s", role="user", issued_at=0, expires_at=0)


@asynccontextmanager
async def serving(
    directory: Path, hub: QuietHub, people: Collection[str] = PEOPLE, **limits
) -> AsyncIterator[TestClient]:
    database = Database(f"sqlite:///{directory}/tea.db")
    await database.connect()
    await database.create_all()
    await settle(database, people)
    service = Messages(SqlMessageStore(database), hub, clock=ManualClock(), **limits)
    app = App()
    app.provide(Caller, caller, security="bearer")
    install(app, service)
    await service.start()
    async with TestClient(app) as client:
        yield client
    await service.aclose()
    await database.aclose()


def by(user: str) -> dict[str, str]:
    return {"x-caller": user}


def send(client, sender, to, id="1", content="hello", **changes):
    body = {"type": "text", "id": id, "to": to, "content": content, **changes}
    return client.post("/v1/messages", json=body, headers=by(sender))
