"""Answers to those who ask for a WebSocket, each with its line in the access log."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple, Protocol

from teahouse.accounts import Caller
from teahouse.clock import Clock
from teahouse.messages.frames import PATH
from teahouse.messages.socket import ClientSocket
from teahouse.messages.upgrade import Upgrade, field_of, target_of
from teahouse.problems import Problem
from teahouse.web.accesslog import AccessLog, NullAccessLog
from teahouse.web.origin import Network, Origin
from teahouse.web.response import Heads, problem_response
from teahouse.web.server import REQUEST_ID

_SWITCHING_PROTOCOLS = 101
_UNKNOWN = "(unknown)"


class Asked(NamedTuple):
    """A request's head without its empty line, or None where there was none or it was too large, and when it came."""

    head: bytes | None
    moment: float


class Served(Protocol):
    """The HTTP server beside: whose log it is, and which proxies are believed."""

    log: AccessLog | NullAccessLog
    trusted: tuple[Network, ...]


class Answers:
    """``beside`` gives the server once there is one; without one nothing is logged.

    A line never has the query, nor a header other than the request's id: both may hold secrets.
    """

    def __init__(self, clock: Clock, beside: Callable[[], Served | None]) -> None:
        self._clock = clock
        self._beside = beside
        self._heads = Heads()

    def accept(self, socket: ClientSocket, asked: Asked, number: str, caller: Caller, upgrade: Upgrade) -> None:
        """The socket becomes one, with that number."""
        request_id = self._request_id(asked)
        self._log(socket, asked, _SWITCHING_PROTOCOLS, 0, request_id)
        socket.admit(number, caller, upgrade.answered(request_id))

    def refuse(self, socket: ClientSocket, asked: Asked, problem: Problem) -> None:
        """Tells the problem, and ends the connection."""
        if not socket.is_asking:
            return
        request_id = self._request_id(asked)
        response = problem_response(problem, PATH)
        self._log(socket, asked, response.status, len(response.body), request_id)
        self._heads.refresh()
        socket.refuse(self._heads.render(response, request_id, close=True, head_only=False))

    def _request_id(self, asked: Asked) -> bytes:
        given = field_of(asked.head or b"", b"x-request-id")
        return given if REQUEST_ID.fullmatch(given) else self._clock.new_id().encode()

    def _log(self, socket: ClientSocket, asked: Asked, status: int, size: int, request_id: bytes) -> None:
        server = self._beside()
        if server is None:
            return
        head = asked.head or b""
        method, path = target_of(head)
        origin = Origin(socket.peer, server.trusted)
        client = origin.client_address({b"x-forwarded-for": field_of(head, b"x-forwarded-for")})
        route = "-" if path == "-" else PATH if path == PATH else _UNKNOWN
        seconds = perf_counter() - asked.moment
        server.log.add(self._clock.now(), method, path, status, size, seconds, client, request_id, route)
