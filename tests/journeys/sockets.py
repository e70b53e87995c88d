"""People's sockets: opened, welcomed and closed; what came over them, frame by frame."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from tests.journeys.people import Person
from tests.journeys.servers import Running
from tests.messages.raw_websocket import RawSocket


@asynccontextmanager
async def socket_of(server: Running, person: Person) -> AsyncIterator[RawSocket]:
    """A socket that has been welcomed."""
    socket = await RawSocket.connect(server.realtime_port)
    try:
        answer = await socket.upgrade(token=person.token)
        assert answer.status == 101, answer
        welcome = await socket.json()
        assert (welcome["type"], welcome["userId"]) == ("welcome", person.id), welcome
        yield socket
    finally:
        socket.drop()
        # It is closed in the loop's next turn, which a server that is stopped meanwhile would wait for.
        with suppress(ConnectionError):
            await socket.writer.wait_closed()


async def new_room(owner: Person, *members: Person) -> str:
    """A room's address, as frames name it."""
    body = {"name": "Longjing", "members": [member.id for member in members]}
    made = await owner.post("/v1/rooms", json=body)
    assert made.status == 201, made.body
    return f"room:{made.json()['id']}"


async def said(socket: RawSocket, to: str, id: str, content: Any) -> int:
    """Says something; its ``seq``, once it is acknowledged."""
    socket.say(type="text", id=id, to=to, content=content)
    ack = await socket.json()
    assert (ack["type"], ack["id"], ack["to"]) == ("ack", id, to), ack
    return int(ack["seq"])


async def next_text(socket: RawSocket) -> tuple[int, str, Any]:
    """The next frame, which is a message: its ``seq``, its sender's id for it, its content."""
    frame = await socket.json()
    assert frame["type"] == "text", frame
    return frame["seq"], frame["id"], frame["content"]


async def synced(socket: RawSocket, to: str, after: int) -> list[tuple[int, str, Any]]:
    """What was missed, all of it."""
    socket.say(type="sync", after={to: after})
    missed = []
    while (frame := await socket.json())["type"] == "text":
        missed.append((frame["seq"], frame["id"], frame["content"]))
    assert frame == {"type": "synced", "to": to, "recovered": True}, frame
    return missed


async def history(person: Person, to: str) -> list[dict[str, Any]]:
    """Everything that was said there, oldest first, page by page."""
    kind, _, id = to.partition(":")  # noqa: A001 - the address's part
    found: list[dict[str, Any]] = []
    before = ""
    while True:
        page = await person.get(f"/v1/{kind}s/{id}/messages?limit=100{before}")
        assert page.status == 200, page.body
        found += page.json()["items"]
        cursor = page.json()["nextCursor"]
        if cursor is None:
            return found[::-1]
        before = f"&before={cursor}"
