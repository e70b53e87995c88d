"""The HTTP server of one worker: sockets, connections, ticks and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from teahouse.problems import BadRequest, MethodNotAllowed, NotFound, Problem
from teahouse.web.accesslog import AccessLog, NullAccessLog
from teahouse.web.connection import Connection
from teahouse.web.cors import Cors
from teahouse.web.figures import ServerFigures
from teahouse.web.limits import Limits
from teahouse.web.listening import turn_away
from teahouse.web.origin import Network, Origin
from teahouse.web.request import Request
from teahouse.web.response import Heads, Response
from teahouse.web.routing import METHODS, Route

if TYPE_CHECKING:
    from teahouse.web.app import App

_log = logging.getLogger(__name__)

# What a caller may name a request.
REQUEST_ID = re.compile(rb"[A-Za-z0-9._~-]{1,64}")

_BACKLOG = 4096
_TICK_SECONDS = 0.25
_METHOD_NAMES = {name.encode(): name for name in (*METHODS, "HEAD", "OPTIONS")}


class Complaints:
    """Says why an engine failed, once a second for each kind of problem at most: the log must not drown with it."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def say(self, problem: Problem) -> None:
        """Logs what caused it, unless that kind was just logged."""
        now = time.monotonic()
        if now - self._said.get(problem.slug, -1.0) >= 1.0:
            self._said[problem.slug] = now
            _log.error("%s: %r", problem.slug, problem.__cause__)


class Server:
    """Serves one app on this process's event loop.

    ``trusted`` are the proxies whose X-Forwarded fields are believed; ``access_log`` is a file descriptor, or None.
    ``draining``: not ready, each answer is the last on its connection. ``closing``: idle connections end as well.
    """

    def __init__(
        self,
        app: App,
        *,
        limits: Limits | None = None,
        trusted: tuple[Network, ...] = (),
        cors: Cors | None = None,
        access_log: int | None = None,
    ) -> None:
        self.app = app
        self.limits = limits or Limits()
        self.trusted = trusted
        self.cors = cors
        self.figures = ServerFigures()
        self.heads = Heads()
        self.background = app.background
        self.complaints = Complaints()
        self.log: AccessLog | NullAccessLog
        self.log = NullAccessLog() if access_log is None else AccessLog(access_log)
        self.draining = False
        self.closing = False
        self.tick = 0
        self._router = app.router
        self._connections: set[Connection] = set()
        self._running: set[asyncio.Future[Any]] = set()
        # The time of a stop is over: what is cancelled now is so because of it.
        self.cutting = False
        # Set whenever a connection or a handler ends, for a stop that waits for all of them.
        self._ended = asyncio.Event()
        self._doors: list[asyncio.Server] = []
        self._ticker: asyncio.Task[None] | None = None
        self._unknown = _pseudo_route("(unknown)", _unknown)
        self._unreadable = _pseudo_route("(unreadable)", _unreadable)
        self._other_method = _pseudo_route("(other method)", _other_method)
        self._options = _pseudo_route("(options)", _options)
        self._id_prefix = os.urandom(8).hex().encode()
        self._id_count = 0
        self._loop = asyncio.get_running_loop()
        app.server = self

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self, host: str, port: int) -> int:
        """Listens and returns the port, a free one where ``port`` is 0. Raises ``OSError`` where it is taken."""
        self.start_ticking()
        doors = await self._loop.create_server(
            lambda: Connection(self), host, port, backlog=_BACKLOG, reuse_address=True
        )
        self._doors.append(doors)
        listening: socket.socket = doors.sockets[0]
        return int(listening.getsockname()[1])

    async def accept_from(self, listening: socket.socket) -> asyncio.Server:
        """Accepts from a socket that listens already, until what is returned is closed."""
        doors = await self._loop.create_server(lambda: Connection(self), sock=listening, backlog=_BACKLOG)
        self._doors.append(doors)
        return doors

    def accept_no_more(self, doors: asyncio.Server) -> None:
        """Leaves them to another process that accepts from the same sockets."""
        self._doors.remove(doors)
        doors.close()

    def start_ticking(self) -> None:
        """Deadlines, the Date field and the loop's lag are kept by one task."""
        self._ticker = self._loop.create_task(self._ticking(), name="server ticks")

    async def leave(self, seconds: float) -> None:
        """Is not ready from now on and serves for that time, each answer the last on its connection; then closes the
        listening sockets, and who had begun to connect is still served.
        """
        self.draining = True
        if self._doors:
            await asyncio.sleep(seconds)
        doors, self._doors = self._doors, []
        if doors:
            await asyncio.sleep(max(map(turn_away, doors)))
        for each in doors:
            each.close()
        # What was accepted a moment ago is announced in the next turn of the loop, and read in the one after.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def hand_over(self, seconds: float) -> None:
        """Leaves the listening sockets to another process that accepts from them, and gives the connections that are
        open so much time for one more request.
        """
        self.draining = True
        for each in list(self._doors):
            self.accept_no_more(each)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await self._all_ended(seconds)

    async def stop(self, seconds: float) -> None:
        """Takes no new connection, answers what has been asked, then cuts what is left after that time."""
        await self.leave(0)
        self.closing = True
        self._sweep()
        await self._all_ended(seconds)
        for connection in list(self._connections):
            connection.abort()
        self.cutting = True
        for work in list(self._running):
            work.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=1)
        if self._ticker is not None:
            self._ticker.cancel()

    async def _all_ended(self, seconds: float) -> None:
        deadline = self._loop.time() + seconds
        while (self._connections or self._running) and (left := deadline - self._loop.time()) > 0:
            self._ended.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), left)

    async def _ticking(self) -> None:
        due = self._loop.time()
        while True:
            due += _TICK_SECONDS
            await asyncio.sleep(due - self._loop.time())
            self.figures.lag = max(self._loop.time() - due, 0.0)
            # A loop that was held up counts no time against its callers: their bytes may be waiting to be read.
            due = max(due, self._loop.time() - _TICK_SECONDS)
            self.tick += 1
            self.heads.refresh()
            self._sweep()

    def _sweep(self) -> None:
        for connection in list(self._connections):
            try:
                connection.sweep(self.tick, _TICK_SECONDS)
            except Exception:  # the other connections' deadlines must hold
                _log.exception("a connection's deadlines could not be kept")
                self._connections.discard(connection)
                connection.abort()

    @property
    def pseudo_routes(self) -> tuple[Route, ...]:
        """What answers where no route of the app fits; for /metrics."""
        return self._unknown, self._unreadable, self._other_method, self._options

    @property
    def running(self) -> int:
        """Requests whose handler is waiting for something."""
        return len(self._running)

    # --- called by connections ----------------------------------------------------------------------------------------

    def admit(self, connection: Connection) -> bool:
        """Counts a connection; False where it is one too many."""
        self._connections.add(connection)
        self.figures.connections += 1
        if len(self._connections) > self.limits.connections:
            self.figures.rejected += 1
            return False
        return True

    def forget(self, connection: Connection) -> None:
        """The connection has ended."""
        self._connections.discard(connection)
        self._ended.set()
        self.figures.connections = len(self._connections)

    def run(self, handling: Coroutine[Any, Any, None]) -> None:
        """Runs a handler that waits; the server stops only after it."""
        task = self._loop.create_task(handling)
        self._running.add(task)
        task.add_done_callback(self.handled)

    def expect(self, coming: asyncio.Future[Any], arrived: Callable[[asyncio.Future[Any]], None]) -> None:
        """``arrived`` is called with the future that a handler returned when that is done, and calls ``handled``."""
        self._running.add(coming)
        coming.add_done_callback(arrived)

    def handled(self, work: asyncio.Future[Any]) -> None:
        """What a handler waited for has come."""
        self._running.discard(work)
        if self.draining:
            self._ended.set()

    def body_limit(self, request: Request) -> int:
        """How many bytes of body the request may have."""
        limit = request.route.max_body
        return self.limits.body_bytes if limit is None else limit

    def new_request_id(self) -> bytes:
        """Unique in this process and, by its random half, among processes."""
        self._id_count += 1
        return b"%b%08x" % (self._id_prefix, self._id_count)

    def open(self, method: bytes, target: bytes, headers: dict[bytes, bytes], origin: Origin) -> Request:
        """The request with its route. Where no route fits, the route is one that answers with the right problem."""
        name = _METHOD_NAMES.get(method) or method.decode("latin-1")
        text = target.decode("latin-1")
        if text[:1] != "/":
            text = _origin_form(text)
        path, _, query = text.partition("?")
        request = Request(name, path, query, headers, origin)
        given = headers.get(b"x-request-id")
        if given is None or REQUEST_ID.fullmatch(given) is None:
            self._id_count = count = self._id_count + 1
            request.id = b"%b%08x" % (self._id_prefix, count)
        else:
            request.id = given
        if self.cors is not None:
            request.plain = request.plain and b"origin" not in headers
        request.route = self._route(request)
        return request

    def _route(self, request: Request) -> Route:
        try:
            found = self._router.find(request.path) if request.path.isascii() else None
        except BadRequest:
            return self._unreadable
        if found is None:
            if request.method == "OPTIONS" and request.path == "*":
                # RFC 9110 §9.3.7: the server as a whole.
                request.state = ", ".join(sorted((*METHODS, "HEAD", "OPTIONS")))
                return self._options
            return self._unknown
        methods, request.params = found
        route = methods.get(request.method)
        if route is not None:
            return route
        if request.method == "HEAD" and "GET" in methods:
            return methods["GET"]
        request.state = allowed(methods)
        return self._options if request.method == "OPTIONS" else self._other_method


def allowed(methods: dict[str, Route]) -> str:
    """The Allow field for a path that has these methods."""
    names = {*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    return ", ".join(sorted(names))


def _origin_form(target: str) -> str:
    """RFC 9112 §3.2: proxies send the absolute form, OPTIONS may send an asterisk; empty for any other form."""
    _scheme, _, rest = target.partition("://")
    if not rest or rest[0] in "/?":
        return target if target == "*" else ""
    end = min((place for place in (rest.find("/"), rest.find("?")) if place >= 0), default=len(rest))
    return rest[end:] if rest[end : end + 1] == "/" else "/" + rest[end:]


def _pseudo_route(name: str, answer: Any) -> Route:
    route = Route("*", name, answer, hidden=True)
    route.call = answer
    return route


def _unknown(_request: Request) -> None:
    raise NotFound("There is no such address.")


def _unreadable(_request: Request) -> None:
    raise BadRequest("The path is not percent-encoded UTF-8.")


def _other_method(request: Request) -> None:
    raise MethodNotAllowed(f"This address takes {request.state}.", headers={"Allow": request.state})


def _options(request: Request) -> Response:
    return Response(204, headers={"Allow": request.state})
