"""One HTTP/1.1 connection on asyncio: requests in, answers out in their order, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
from asyncio import CancelledError, Future
from functools import partial
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, cast

import httptools

from teahouse.problems import Overloaded, Problem, RequestTimeout, ShuttingDown
from teahouse.web.answering import drop_work, refusal, render, render_head, translate
from teahouse.web.calling import AWAITED
from teahouse.web.incoming import BODY, CLOSING, CONTINUE, HEAD, IDLE, Incoming
from teahouse.web.origin import Origin
from teahouse.web.request import Request
from teahouse.web.response import Response, encode_json, problem_response
from teahouse.web.sending import Sending, StreamedResponse
from teahouse.web.streaming import ClientGone
from teahouse.web.transport import GONE, unread_by_peer

if TYPE_CHECKING:
    from teahouse.web.server import Server

_log = logging.getLogger(__name__)

_ABOUT_TO_ASK_SECONDS = 0.25


class Connection(Incoming):
    """Hands requests to their routes one after the other and writes the answers in order."""

    __slots__ = ("_ended", "_refused", "_sending", "_unsent", "_unsent_since")

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._ended = False
        self._unsent = self._unsent_since = 0
        self._refused: Request | None = None
        self._sending: Sending | None = None

    # --- called by the transport --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio.Transport in all but name.
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._origin = Origin(peer[0] if peer else "", self._server.trusted)
        self._parser = httptools.HttpRequestParser(self)
        if not self._server.admit(self):
            self._fail(Overloaded("This node has as many connections as it takes."))

    def connection_lost(self, error: Exception | None) -> None:
        # A handler under way runs on: what it has begun is finished, only its answer has nowhere to go.
        self._transport = GONE
        self._queue.clear()
        self._failure = None
        self._break_stream(ClientGone())
        if self._sending is not None:
            self._sending.lose()
        self.phase = CLOSING
        self._server.forget(self)

    def eof_received(self) -> bool:
        # A client that has only closed its own side still reads the answers to what it asked.
        self._ended = True
        self._break_stream(ClientGone())
        if not self._busy and not self._queue:
            return False
        self._stop = True
        if self.phase != CLOSING:
            self.phase = IDLE
        return True

    def pause_writing(self) -> None:
        self._paused = True
        self._transport.pause_reading()
        if self._sending is not None:
            self._sending.pause()

    def resume_writing(self) -> None:
        self._paused = False
        if self._sending is not None:
            self._sending.resume()
        self._next()

    # --- answering ----------------------------------------------------------------------------------------------------

    def _start(self, request: Request) -> None:
        route = request.route
        try:
            value = route.call(request)
            if route.view is not None and value.__class__ not in AWAITED:
                value = self._viewed(request, value)
        except Exception as error:
            self._answer(request, translate(self._server, request, error))
            return
        if value.__class__ is Future:
            # Somebody else does the work: a task of its own would only wait, and costs a tenth of a purchase.
            self._busy = True
            self._server.expect(value, partial(self._arrived, request))
        elif value.__class__ in AWAITED:
            self._busy = True
            self._server.run(self._wait(request, value))
        else:
            self._answer(request, value)

    def _arrived(self, request: Request, coming: Future[Any]) -> None:
        self._server.handled(coming)
        if coming.cancelled() and self._server.cutting:
            drop_work(self._server, request)
            self._transport.abort()
            return
        try:
            value = self._viewed(request, coming.result())
        except (Exception, CancelledError) as error:
            value = translate(self._server, request, error)
        self._finish_waiting(request, value)

    @staticmethod
    def _viewed(request: Request, value: Any) -> Any:
        view = request.route.view
        return value if view is None or value.__class__ is Response else view(value)

    async def _wait(self, request: Request, coming: Any) -> None:
        try:
            value = self._viewed(request, await coming)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                drop_work(self._server, request)
                self._transport.abort()
                raise
            # Not this handler was cancelled but something it waited for.
            value = translate(self._server, request, error)
        except Exception as error:
            value = translate(self._server, request, error)
        self._finish_waiting(request, value)

    def _finish_waiting(self, request: Request, value: Any) -> None:
        self._busy = False
        self._answer(request, value)
        if self._queue or self._stop or self._uninvited is not None:
            self._next()

    def _answer(self, request: Request, value: Any) -> None:
        route, server = request.route, self._server
        if request.stream is not None:
            # What is still coming of the body has no reader, so nothing else can come after it.
            request.close = request.close or not request.stream.is_complete
            request.stream.drop()
        if value.__class__ is StreamedResponse:
            self._busy = True
            server.run(self._send(request, value))
            return
        if value.__class__ is Response:
            status, size, data = render(server, request, value)
        elif value is None:
            status, size, data = render(server, request, Response(204))
        else:
            status = route.status
            try:
                body = encode_json(value)
            except Exception as error:
                status, size, data = render(server, request, translate(self._server, request, error))
            else:
                size = len(body)
                if request.plain and route.headers is None and not request.close and not server.draining:
                    data = server.heads.render_json(status, body, request.id)
                else:
                    answer = Response(status, body, content_type="application/json", headers=route.headers)
                    status, size, data = render(server, request, answer)
        self._transport.write(data)
        self._answered(request, status, size)

    def _answered(self, request: Request, status: int, size: int) -> None:
        route, server = request.route, self._server
        seconds = perf_counter() - request.started
        route.figures.observe(status, seconds)
        server.log.add(
            time(), request.method, request.path, status, size, seconds, request.client_address, request.id,
            route.template,
        )  # fmt: skip
        if request.work:
            server.background.start(request.work)
        if request.close or server.draining:
            self._close()

    async def _send(self, request: Request, answer: StreamedResponse) -> None:
        """An answer that takes its time; the next request waits for its end."""
        server, sending, head_only = self._server, Sending(self._transport), request.method == "HEAD"
        try:
            head = render_head(server, request, answer)
        except Exception as error:
            await answer.pieces.aclose()
            self._finish_waiting(request, translate(server, request, error))
            return
        if head_only:
            await answer.pieces.aclose()
            self._transport.write(head)
        else:
            await self._send_pieces(request, sending, head, answer)
        self._busy = False
        self._answered(request, answer.head.status, sending.sent)
        self._next()

    async def _send_pieces(self, request: Request, sending: Sending, head: bytes, answer: StreamedResponse) -> None:
        self._sending = sending
        try:
            await sending.send(head, answer)
        except ClientGone:
            pass
        except BaseException as error:
            self._transport.abort()
            if not isinstance(error, Exception):
                raise
            _log.error("%s broke off, request %s", request.path, request.id.decode(), exc_info=error)
        finally:
            self._sending = None

    def _next(self) -> None:
        while self._queue and not self._busy and not self._paused and not self._transport.is_closing():
            self._start(self._queue.popleft())
        if self._queue or self._paused:
            return
        if self._busy:
            self._transport.resume_reading()
            return
        if self._failure is not None:
            self._send_failure(self._failure)
        elif self._stop:
            self._close()
        else:
            self._read_on()

    def _read_on(self) -> None:
        if self._uninvited is not None and self._uninvited is self._request and self.phase == BODY:
            self._transport.write(CONTINUE)
        self._uninvited = None
        self._transport.resume_reading()

    # --- limits and endings -------------------------------------------------------------------------------------------

    def sweep(self, tick: int, seconds_per_tick: float) -> None:
        """Ends what has waited for too long; called at every server tick."""
        limits = self._server.limits
        self._watch_writing(tick, limits.write_seconds / seconds_per_tick)
        waited = (tick - self.since) * seconds_per_tick
        phase = self.phase
        if self._server.closing and self._break_stream(ShuttingDown("What has arrived stays; go on at another node.")):
            self._stop = True
        if phase == CLOSING:
            if waited > limits.linger_seconds and not self._busy and not self._transport.get_write_buffer_size():
                self._transport.abort()
        elif self._queue or self._paused or (self._stream is not None and self._stream.is_held):
            # It is the server that has stopped reading.
            self.since = tick
        elif phase == IDLE:
            if not self._busy and waited > self._may_be_silent():
                self._transport.close()
        elif waited > (limits.head_seconds if phase == HEAD else limits.body_seconds):
            self._fail(RequestTimeout("The head did not arrive in time." if phase == HEAD else "The body stood still."))

    def _may_be_silent(self) -> float:
        server = self._server
        if server.closing:
            # Who has just connected or just had an answer may be about to ask.
            return _ABOUT_TO_ASK_SECONDS
        return server.limits.idle_seconds if self._asked else server.limits.head_seconds

    def abort(self) -> None:
        """Cuts the connection."""
        self._transport.abort()

    def _watch_writing(self, tick: int, ticks: float) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent or self._sending is not None:
            unsent += unread_by_peer(self._transport)
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, tick
        elif tick - self._unsent_since > ticks:
            self._transport.abort()

    def _fail(self, problem: Problem) -> None:
        """Ends the connection with a refusal, after the answers that are due before it."""
        self._stop = True
        if self._break_stream(problem):
            # Whoever reads the body answers the request.
            self._failure = None
            self.phase = CLOSING
            self.since = self._server.tick
            return
        self._failure = problem
        self._refused = self._request if self.phase == BODY else None
        self.phase = CLOSING
        self.since = self._server.tick
        if not self._busy and not self._queue:
            self._send_failure(problem)

    def _send_failure(self, problem: Problem) -> None:
        server, request = self._server, self._refused
        if request is not None:
            request.close = True
            self._answer(request, problem_response(problem, request.path))
            return
        self._transport.write(refusal(server, problem, self._origin.peer))
        self._close()

    def _finish(self) -> None:
        self._stop = True
        if not self._busy and not self._queue and not self._paused:
            self._close()

    def _close(self) -> None:
        self._stop = True
        self._failure = None
        self._queue.clear()
        self.phase = CLOSING
        self.since = self._server.tick
        if self._ended:
            self._transport.close()
        elif not self._transport.is_closing():
            # Closing over unread input would reset the connection and might take the answer with it: half-close, then
            # read a little of what is still coming (RFC 9112 §9.6).
            self._transport.write_eof()
            self._transport.resume_reading()
