"""From what a handler returned or raised to the bytes of an answer, off the fastest path."""

from __future__ import annotations

import logging
from time import time
from typing import TYPE_CHECKING

from teahouse.problems import BadRequest, InternalError, Problem
from teahouse.web.request import Request
from teahouse.web.response import Response, problem_response
from teahouse.web.sending import StreamedResponse
from teahouse.web.streaming import ClientGone

if TYPE_CHECKING:
    from teahouse.web.server import Server

_log = logging.getLogger(__name__)


def render(server: Server, request: Request, response: Response) -> tuple[int, int, bytes]:
    """Status, size of the body, and the answer's bytes; one that cannot be sent becomes a 500."""
    if server.cors is not None:
        response = server.cors.decorate(request, response)
    close, head_only = request.close or server.draining, request.method == "HEAD"
    try:
        data = server.heads.render(response, request.id, close=close, head_only=head_only)
    except Exception as error:  # noqa: BLE001  # a handler may put anything into a response, and each is answered
        response = translate(server, request, error)
        data = server.heads.render(response, request.id, close=close, head_only=head_only)
    return response.status, len(response.body), data


def render_head(server: Server, request: Request, answer: StreamedResponse) -> bytes:
    """The head of an answer whose body follows piece by piece. Raises what ``Heads.render`` raises."""
    head = answer.head if server.cors is None else server.cors.decorate(request, answer.head)
    close = request.close or server.draining
    return server.heads.render(head, request.id, close=close, head_only=True, length=answer.length)


def translate(server: Server, request: Request, error: BaseException) -> Response:
    """A handler's error as an answer; a fault is logged once with its trace. Work that it had added is dropped."""
    drop_work(server, request)
    if isinstance(error, ClientGone):
        error = BadRequest("The connection ended before the body did.")
    if not isinstance(error, Problem):
        _log.error("%s %s failed, request %s", request.method, request.path, request.id.decode(), exc_info=error)
        error = InternalError()
    elif error.__cause__ is not None and error.status >= 500:
        server.complaints.say(error)
    try:
        return problem_response(error, request.path)
    except ValueError as fault:
        _log.error("request %s: a problem could not be told", request.id.decode(), exc_info=fault)
        return problem_response(InternalError(), request.path)


def refusal(server: Server, problem: Problem, peer: str) -> bytes:
    """The last answer of a connection, to what never became a request."""
    response, request_id = problem_response(problem, ""), server.new_request_id()
    server.figures.refused.observe(response.status, 0.0)
    server.log.add(time(), "-", "-", response.status, len(response.body), 0.0, peer, request_id, "-")
    return server.heads.render(response, request_id, close=True, head_only=False)


def drop_work(server: Server, request: Request) -> None:
    """Gives back the room of background work whose handler failed."""
    if request.work:
        server.background.release(request.work)
        request.work = None
