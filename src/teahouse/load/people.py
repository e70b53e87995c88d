"""Who talks: people who log in through the sandbox, and the rooms that they are in."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import msgspec

from teahouse.load.plan import LoadFailed, Plan
from teahouse.load.progress import Progress
from teahouse.web.client import Answer, BadAnswer, Client, ClientError

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 32
_PATIENCE_SECONDS = 30.0
_TRIES = 5
_LONGEST_PAUSE_SECONDS = 5.0
_BUSY = (429, 503)
# What one request to the rooms' routes may name.
_MOST_NAMED = 200


class _User(msgspec.Struct):
    id: str


class _Tokens(msgspec.Struct, rename="camel"):
    access_token: str
    user: _User


class _Room(msgspec.Struct):
    id: str


class Person(NamedTuple):
    """Somebody who is logged in."""

    id: str
    token: str


async def in_crowd(work: Callable[[T], Awaitable[R]], things: Iterable[T], at_once: int = _AT_ONCE) -> list[R]:
    """``work`` on each, so many at a time, results in order. The first failure ends all and is raised as it is."""
    queue = iter(enumerate(things))
    done: dict[int, R] = {}

    async def go_through() -> None:
        for place, thing in queue:
            done[place] = await work(thing)

    workers = [asyncio.ensure_future(go_through()) for _ in range(at_once)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [done[place] for place in sorted(done)]


class Registry:
    """The server's HTTP side. Methods raise ``LoadFailed``."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url
        # People of one run are its own, so that several runs do not disturb each other.
        self._run = secrets.token_hex(4)

    async def find_the_server(self) -> None:
        """Sees to it that a Teahouse is ready there."""
        hint = "Start one with `teahouse serve`, or name its address with --url."
        try:
            answer = await self._client.get("/readyz")
        except ClientError as error:
            raise LoadFailed(f"There is no Teahouse at {self._url}: {error}. {hint}") from error
        if answer.status != 200:
            raise LoadFailed(f"There is no Teahouse ready at {self._url}: GET /readyz says {answer.status}. {hint}")

    async def log_in(self, number: int) -> Person:
        """A new person."""
        code = f"sandbox-load{self._run}n{number}-{secrets.token_hex(4)}"
        answer = await self._post("/v1/auth/wechat", {"code": code})
        if answer.status in (401, 403, 404, 503):
            raise LoadFailed(
                f"People cannot log in at {self._url} ({_told(answer)}). The load needs a server that is not meant for "
                "customers, with the sandbox in place of WeChat: `teahouse serve` without a wechat.appid."
            )
        tokens = _read(answer, _Tokens, "/v1/auth/wechat", 200)
        return Person(tokens.user.id, tokens.access_token)

    async def make_room(self, members: Sequence[Person]) -> str:
        """A room of these people, the first one's; its id."""
        owner, *others = members
        ids = [each.id for each in others]
        body = {"name": f"Load {self._run}", "members": ids[:_MOST_NAMED]}
        room = _read(await self._post("/v1/rooms", body, owner.token), _Room, "/v1/rooms", 201)
        for start in range(_MOST_NAMED, len(ids), _MOST_NAMED):
            path = f"/v1/rooms/{room.id}/members"
            answer = await self._post(path, {"userIds": ids[start : start + _MOST_NAMED]}, owner.token)
            if answer.status != 200:
                raise LoadFailed(f"POST {path}: {_told(answer)}")
        return room.id

    async def _post(self, path: str, body: Any, token: str = "") -> Answer:
        answer = await self._ask(path, body, token)
        for _ in range(_TRIES):
            if answer.status not in _BUSY:
                break
            await asyncio.sleep(_retry_after(answer))
            answer = await self._ask(path, body, token)
        return answer

    async def _ask(self, path: str, body: Any, token: str) -> Answer:
        try:
            return await self._client.post(path, json=body, token=token)
        except ClientError as error:
            raise LoadFailed(f"POST {path}: {error}. Is the server still up at {self._url}?") from error


@asynccontextmanager
async def registry(url: str) -> AsyncIterator[Registry]:
    """The HTTP side of the server at that address. Raises ``LoadFailed``."""
    try:
        client = Client(url, connections=_AT_ONCE, timeout=_PATIENCE_SECONDS)
    except ValueError as error:
        raise LoadFailed(f"--url: {error}") from error
    async with client:
        found = Registry(client, url)
        await found.find_the_server()
        yield found


async def gather(plan: Plan, registry: Registry, progress: Progress) -> list[tuple[str, Person, int]]:
    """Everybody's room, self, and place in it, room by room. Raises ``LoadFailed``."""

    async def log_in(number: int) -> Person:
        person = await registry.log_in(number)
        progress.advance()
        return person

    async def make_room(numbers: range) -> str:
        room = await registry.make_room([people[number] for number in numbers])
        progress.advance()
        return room

    rooms = plan.rooms()
    progress.begin("People log in", plan.connections)
    people = await in_crowd(log_in, range(plan.connections))
    progress.end()
    progress.begin("Rooms are made", len(rooms))
    ids = await in_crowd(make_room, rooms)
    progress.end()
    return [
        (room, people[number], number - numbers.start)
        for room, numbers in zip(ids, rooms, strict=True)
        for number in numbers
    ]


def _retry_after(answer: Answer) -> float:
    wanted = answer.headers.get("retry-after", "")
    return min(float(wanted), _LONGEST_PAUSE_SECONDS) if wanted.isdigit() else 1.0


def _read(answer: Answer, shape: type[T], path: str, status: int) -> T:
    if answer.status != status:
        raise LoadFailed(f"POST {path}: {_told(answer)}")
    try:
        return answer.read(shape)
    except BadAnswer as error:
        raise LoadFailed(f"POST {path}: {error}") from error


def _told(answer: Answer) -> str:
    try:
        problem = answer.problem
    except BadAnswer:
        problem = None
    return f"{answer.status} {problem.slug}: {problem.detail}" if problem else str(answer.status)
