"""Messages over HTTP: rooms, who is in them, what was said, and saying something without a socket."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Annotated, Any

from msgspec import Meta

from teahouse.accounts import Caller
from teahouse.messages.asyncapi import describe as asyncapi_document
from teahouse.messages.model import Membership, Message
from teahouse.messages.service import Messages
from teahouse.messages.views import (
    AddedView,
    DirectList,
    Id,
    MemberList,
    MembersBody,
    MemberView,
    MessageBody,
    MessageList,
    MessageView,
    ReadBody,
    ReadView,
    RoomBody,
    RoomList,
    RoomView,
    content_of,
    view_direct,
    view_message,
    view_room,
    view_sent,
)
from teahouse.problems import (
    DatabaseUnavailable,
    Forbidden,
    IdempotencyMismatch,
    NotFound,
    Overloaded,
    RoomFull,
    ShuttingDown,
    TooManyRooms,
    ValidationFailed,
)
from teahouse.web import App

Limit = Annotated[int, Meta(ge=1, le=100, description="how many at most")]
Cursor = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", description="nextCursor of the page before")]
DirectCursor = Annotated[
    str, Meta(pattern="^user:[0-9a-f]{32}:[0-9a-f]{32}$(?!\\n)", description="nextCursor of the page before")
]
Before = Annotated[
    int, Meta(ge=1, le=2**53, description="only messages with a lower seq: nextCursor of the page before")
]

# What a socket takes in one frame.
MAX_MESSAGE_BYTES = 64 * 1024
_MESSAGES = ("messages",)
_ROOMS = ("rooms",)
_DATABASE = (DatabaseUnavailable,)
_GATHERED = (DatabaseUnavailable, Overloaded, ShuttingDown)
_SENT = (NotFound, ValidationFailed, IdempotencyMismatch, *_GATHERED)


def install(app: App, service: Messages) -> None:
    """Registers the routes."""
    _install_document(app)
    _install_rooms(app, service)
    _install_members(app, service)
    _install_history(app, service)
    _install_messages(app, service)


def _install_document(app: App) -> None:
    @app.get("/asyncapi.json", hidden=True)
    def asyncapi() -> dict[str, Any]:
        """The frames, as OpenAPI does not know them."""
        return asyncapi_document(app.title, app.version)


def _install_rooms(app: App, service: Messages) -> None:
    @app.post("/v1/rooms", status=201, tags=_ROOMS, problems=(NotFound, RoomFull, TooManyRooms, *_GATHERED))
    async def create_room(caller: Caller, body: RoomBody) -> RoomView:
        """A new room, which the caller owns."""
        room = await service.create_room(caller.user_id, body.name.strip(), body.members)
        return view_room(room, Membership(f"room:{room.id}", "owner", 0, 0, 0))

    @app.get("/v1/rooms", tags=_ROOMS, problems=_DATABASE)
    async def list_rooms(caller: Caller, limit: Limit = 20, cursor: Cursor | None = None) -> RoomList:
        """The caller's rooms, newest first, with how much of each is unread."""
        # One more than asked for tells whether there is a next page.
        found = await service.rooms(caller.user_id, cursor, limit + 1)
        return RoomList([view_room(*each) for each in found[:limit]], _next([room.id for room, _ in found], limit))

    @app.put("/v1/rooms/{id}/read", tags=_ROOMS, problems=(NotFound, *_GATHERED))
    async def read_room(caller: Caller, id: Id, body: ReadBody) -> ReadView:  # noqa: A002 - the path's name
        """The caller has read the room up to there."""
        return ReadView(await service.mark_read(caller.user_id, f"room:{id}", body.seq))


def _install_members(app: App, service: Messages) -> None:
    @app.get("/v1/rooms/{id}/members", tags=_ROOMS, problems=(NotFound, *_GATHERED))
    async def list_members(
        caller: Caller,
        id: Id,  # noqa: A002 - the path's name
        limit: Limit = 100,
        cursor: Cursor | None = None,
    ) -> MemberList:
        """Who is in the room, by id."""
        roles = await service.members(caller.user_id, id)
        found = sorted(each for each in roles if cursor is None or each > cursor)
        return MemberList([MemberView(each, roles[each]) for each in found[:limit]], _next(found, limit))

    @app.post("/v1/rooms/{id}/members", tags=_ROOMS, problems=(NotFound, Forbidden, RoomFull, *_GATHERED))
    async def add_members(caller: Caller, id: Id, body: MembersBody) -> AddedView:  # noqa: A002 - the path's name
        """Brings people into the room, which its owner may."""
        return AddedView(sorted(await service.add_members(caller.user_id, id, body.user_ids)))

    @app.delete("/v1/rooms/{id}/members/{member}", status=204, tags=_ROOMS, problems=(NotFound, Forbidden, *_GATHERED))
    async def remove_member(caller: Caller, id: Id, member: Id) -> None:  # noqa: A002 - the path's name
        """The owner removes somebody, or a member leaves."""
        await service.remove_member(caller.user_id, id, member)


def _install_history(app: App, service: Messages) -> None:
    async def page(caller: Caller, to: str, before: int | None, limit: int) -> MessageList:
        found = await service.history(caller.user_id, to, before, limit + 1)
        return MessageList(_views(found[:limit]), _next([str(each.seq) for each in found], limit))

    @app.get("/v1/rooms/{id}/messages", tags=_MESSAGES, problems=(NotFound, *_GATHERED))
    async def room_history(
        caller: Caller,
        id: Id,  # noqa: A002 - the path's name
        before: Before | None = None,
        limit: Limit = 20,
    ) -> MessageList:
        """What was said in the room, newest first."""
        return await page(caller, f"room:{id}", before, limit)

    @app.get("/v1/users/{id}/messages", tags=_MESSAGES, problems=(NotFound, ValidationFailed, *_GATHERED))
    async def direct_history(
        caller: Caller,
        id: Id,  # noqa: A002 - the path's name
        before: Before | None = None,
        limit: Limit = 20,
    ) -> MessageList:
        """What the caller and this user said to each other, newest first."""
        return await page(caller, f"user:{id}", before, limit)

    @app.put("/v1/users/{id}/read", tags=_MESSAGES, problems=(NotFound, *_GATHERED))
    async def read_direct(caller: Caller, id: Id, body: ReadBody) -> ReadView:  # noqa: A002 - the path's name
        """The caller has read what this user said up to there."""
        if id == caller.user_id:
            raise NotFound("Nobody has a conversation with themselves.")
        return ReadView(await service.mark_read(caller.user_id, f"user:{id}", body.seq))

    @app.get("/v1/conversations", tags=_MESSAGES, problems=_DATABASE)
    async def list_directs(caller: Caller, limit: Limit = 20, cursor: DirectCursor | None = None) -> DirectList:
        """Whom the caller has talked with, other than in rooms, and how much of it is unread."""
        found = await service.directs(caller.user_id, cursor or "", limit + 1)
        following = _next([each.conversation for each in found], limit)
        return DirectList([view_direct(caller.user_id, each) for each in found[:limit]], following)


def _install_messages(app: App, service: Messages) -> None:
    @app.post("/v1/messages", status=201, tags=_MESSAGES, problems=_SENT, max_body=MAX_MESSAGE_BYTES, view=view_sent)
    def send_message(caller: Caller, body: MessageBody) -> Awaitable[Message]:
        """Says something; the same id and message sent again get the same answer."""
        return service.send(caller.user_id, kind=body.type, id=body.id, to=body.to, content=content_of(body))


def _views(found: Sequence[Message]) -> list[MessageView]:
    return [view_message(each) for each in found]


def _next(ids: list[str], limit: int) -> str | None:
    return ids[limit - 1] if len(ids) > limit else None
