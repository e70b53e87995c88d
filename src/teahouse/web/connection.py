"""One HTTP/1.1 connection (RFC 9112) on asyncio, parsed by llhttp.

Everything that a request costs passes through here, hence the plain style; docs/architecture.md has the measurements.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, cast

import httptools

from teahouse.problems import (
    BadRequest,
    ContentTooLarge,
    ExpectationFailed,
    InternalError,
    Overloaded,
    Problem,
    RequestHeaderFieldsTooLarge,
    RequestTimeout,
)
from teahouse.web.origin import Origin
from teahouse.web.request import Request
from teahouse.web.response import Response, encode_json, problem_response
from teahouse.web.transport import GONE, head_without_upgrade, unread_by_peer

if TYPE_CHECKING:
    from teahouse.web.server import Server

_log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_ONCE = frozenset((b"host", b"content-type", b"content-length", b"authorization", b"idempotency-key", b"origin"))
_MAX_JOINED = 16 * 1024

# What the connection is waiting for. Plain integers: an enum member costs a look-up at every comparison.
IDLE, HEAD, BODY, CLOSING = range(4)


class _Enough(Exception):
    """Stops the parser: nothing further in this piece of input is to be carried out."""


class Connection(asyncio.Protocol):
    """Parses requests, hands them to their routes one after the other and writes the answers in order.

    ``phase`` and ``since`` (a server tick) say what it is waiting for and from when on. Once ``_stop`` is set nothing
    more is read: the connection ends after the answers that are due.
    """

    __slots__ = (
        "_asked", "_body_bytes", "_busy", "_chunks", "_ended", "_failure", "_head_bytes", "_headers", "_lingered",
        "_origin", "_parser", "_paused", "_queue", "_received", "_refused", "_request", "_server", "_stop", "_transport",
        "_uninvited", "_unsent", "_unsent_since", "_url", "phase", "since",
    )  # fmt: skip

    _parser: httptools.HttpRequestParser
    _transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._queue: deque[Request] = deque()
        self._failure: Problem | None = None
        self._asked = self._busy = self._ended = self._paused = self._stop = False
        self._head_bytes = self._body_bytes = self._received = self._lingered = self._unsent = self._unsent_since = 0
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._request: Request
        self._refused: Request | None = None
        self._uninvited: Request | None = None
        self.phase = IDLE
        self.since = server.tick

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
        self.phase = CLOSING
        self._server.forget(self)

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase == CLOSING:
            self._linger(len(data))
            return
        if phase == BODY:
            self.since = self._server.tick
            self._body_bytes += len(data)
            # Chunk extensions and trailers are no content, but they too have an end.
            if self._body_bytes - 8 * self._received > self._server.limits.head_bytes + self._server.limits.body_bytes:
                self._fail(self._too_large(self._request))
                return
        elif self._head_bytes + len(data) > self._server.limits.head_bytes and not self._head_fits(data):
            self._fail(RequestHeaderFieldsTooLarge(f"At most {self._server.limits.head_bytes} bytes are taken."))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._misread(error, data)
        else:
            if self._failure is not None:
                self._fail(self._failure)
            elif self.phase == HEAD and phase != BODY and data.find(b"\r\n\r\n") < 0:
                # Input that also ends a request is not this head's, or not all of it.
                self._head_bytes += len(data)

    def eof_received(self) -> bool:
        # A client that has only closed its own side still reads the answers to what it asked.
        self._ended = True
        if not self._busy and not self._queue:
            return False
        self._stop = True
        if self.phase != CLOSING:
            self.phase = IDLE
        return True

    def pause_writing(self) -> None:
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self._next()

    # --- called by the parser -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._asked = True
        self.phase = HEAD
        self.since = self._server.tick

    def on_url(self, part: bytes) -> None:
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase != HEAD:
            # Trailers may not add what the head did not say (RFC 9110 §6.5.1).
            return
        name = name.lower()
        headers = self._headers
        if name in headers:
            self._repeated(name, value)
        elif len(headers) < self._server.limits.head_fields:
            headers[name] = value
        else:
            self._failure = RequestHeaderFieldsTooLarge("There are too many header fields.")

    def on_headers_complete(self) -> None:
        if self._failure is not None:
            return
        headers = self._headers
        if b"host" not in headers and self._parser.get_http_version() == "1.1":
            self._failure = BadRequest("A request says which Host it is for (RFC 9112).")
            return
        self.phase = BODY
        self.since = self._server.tick
        self._head_bytes = 0
        self._request = request = self._server.open(self._parser.get_method(), self._url, headers, self._origin)
        request.started = perf_counter()
        self._chunks = []
        self._received = self._body_bytes = 0
        if b"content-length" in headers and int(headers[b"content-length"]) > self._body_limit(request):
            self._failure = self._too_large(request)
        elif b"expect" in headers:
            self._expect(headers[b"expect"])

    def on_body(self, chunk: bytes) -> None:
        if self._failure is not None:
            return
        self._received += len(chunk)
        if self._received > self._body_limit(self._request):
            self._failure = self._too_large(self._request)
            self._chunks = []
        else:
            self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        if self._failure is not None:
            raise _Enough
        request = self._request
        if self._received:
            request.body = b"".join(self._chunks)
            self._chunks = []
        headers = request.headers
        if not self._parser.should_keep_alive() or (
            b"connection" in headers and (b"upgrade" in headers or self._parser.get_http_version() != "1.1")
        ):
            if self._parser.should_upgrade() and (b"content-length" in headers or b"transfer-encoding" in headers):
                # The parser takes the body for another protocol's bytes and says so next: see _misread.
                return
            self._is_last(request)
        self.phase = IDLE
        self.since = self._server.tick
        if not self._busy and not self._paused and not self._queue:
            self._start(request)
        elif len(self._queue) < self._server.limits.pipelined:
            self._queue.append(request)
            self._transport.pause_reading()
        else:
            # The client finds the connection closed and asks again what was not answered (RFC 9112 §9.3.2).
            self._stop = True
        if self._stop:
            raise _Enough

    def _is_last(self, request: Request) -> None:
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._failure = BadRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
            raise _Enough
        request.close = self._stop = True

    # --- answering ----------------------------------------------------------------------------------------------------

    def _start(self, request: Request) -> None:
        route = request.route
        try:
            value = route.call(request)
        except Exception as error:
            self._answer(request, self._translate(request, error))
            return
        if route.waits:
            self._busy = True
            self._server.run(self._wait(request, value))
        else:
            self._answer(request, value)

    async def _wait(self, request: Request, coming: Any) -> None:
        try:
            value = await coming
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._drop_work(request)
                self._transport.abort()
                raise
            # Not this handler was cancelled but something it waited for.
            value = self._translate(request, error)
        except Exception as error:
            value = self._translate(request, error)
        self._busy = False
        self._answer(request, value)
        if self._queue or self._stop or self._uninvited is not None:
            self._next()

    def _answer(self, request: Request, value: Any) -> None:
        route, server = request.route, self._server
        if value.__class__ is Response:
            status, size, data = self._render(request, value)
        elif value is None:
            status, size, data = self._render(request, Response(204))
        else:
            status = route.status
            try:
                body = encode_json(value)
            except Exception as error:
                status, size, data = self._render(request, self._translate(request, error))
            else:
                size = len(body)
                if request.plain and not request.close and not server.draining:
                    data = server.heads.render_json(status, body, request.id)
                else:
                    answer = Response(status, body, content_type="application/json")
                    status, size, data = self._render(request, answer)
        self._transport.write(data)
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

    def _render(self, request: Request, response: Response) -> tuple[int, int, bytes]:
        server = self._server
        if server.cors is not None:
            server.cors.decorate(request, response)
        close, head_only = request.close or server.draining, request.method == "HEAD"
        try:
            data = server.heads.render(response, request.id, close=close, head_only=head_only)
        except ValueError as error:
            response = self._translate(request, error)
            data = server.heads.render(response, request.id, close=close, head_only=head_only)
        return response.status, len(response.body), data

    def _translate(self, request: Request, error: BaseException) -> Response:
        self._drop_work(request)
        if not isinstance(error, Problem):
            _log.error("%s %s failed, request %s", request.method, request.path, request.id.decode(), exc_info=error)
            error = InternalError()
        elif error.__cause__ is not None and error.status >= 500:
            self._server.complaints.say(error)
        try:
            return problem_response(error, request.path)
        except ValueError as fault:
            _log.exception("a problem could not be told, request %s", request.id.decode(), exc_info=fault)
            return problem_response(InternalError(), request.path)

    def _drop_work(self, request: Request) -> None:
        if request.work:
            self._server.background.release(request.work)
            request.work = None

    def _next(self) -> None:
        while self._queue and not self._busy and not self._paused and not self._transport.is_closing():
            self._start(self._queue.popleft())
        if self._queue or self._paused:
            return
        if self._busy:
            if not self._stop:
                self._transport.resume_reading()
            return
        if self._failure is not None:
            self._send_failure(self._failure)
        elif self._stop:
            self._close()
        elif not self._transport.is_closing():
            if self._uninvited is not None:
                self._invite_late()
            self._transport.resume_reading()

    def _invite_late(self) -> None:
        if self._uninvited is self._request and self.phase == BODY:
            self._transport.write(_CONTINUE)
        self._uninvited = None

    # --- limits and endings -------------------------------------------------------------------------------------------

    def sweep(self, tick: int, seconds_per_tick: float) -> None:
        """Ends what has waited for too long; called at every server tick."""
        limits = self._server.limits
        self._watch_writing(tick, limits.write_seconds / seconds_per_tick)
        waited = (tick - self.since) * seconds_per_tick
        phase = self.phase
        if phase == CLOSING:
            if waited > limits.linger_seconds and not self._busy and not self._transport.get_write_buffer_size():
                self._transport.abort()
        elif self._queue or self._paused:
            # It is the server that has stopped reading.
            self.since = tick
        elif phase == HEAD:
            if waited > limits.head_seconds:
                self._fail(RequestTimeout(f"The head did not arrive within {limits.head_seconds:g} seconds."))
        elif phase == BODY:
            if waited > limits.body_seconds:
                self._fail(RequestTimeout(f"The body did not move for {limits.body_seconds:g} seconds."))
        elif not self._busy and waited > (limits.idle_seconds if self._asked else limits.head_seconds):
            self._transport.close()

    def drain(self) -> None:
        """The server is stopping: an idle connection closes, any other after its answers."""
        if self.phase == IDLE and not self._busy and not self._queue:
            self._transport.close()

    def abort(self) -> None:
        """Cuts the connection."""
        self._transport.abort()

    def _watch_writing(self, tick: int, ticks: float) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent:
            unsent += unread_by_peer(self._transport)
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, tick
        elif tick - self._unsent_since > ticks:
            self._transport.abort()

    def _fail(self, problem: Problem) -> None:
        """Ends the connection with a refusal, after the answers that are due before it."""
        self._failure = problem
        self._refused = self._request if self.phase == BODY else None
        self._stop = True
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
        response = problem_response(problem, "")
        request_id = server.new_request_id()
        self._transport.write(server.heads.render(response, request_id, close=True, head_only=False))
        server.figures.refused.observe(response.status, 0.0)
        size = len(response.body)
        server.log.add(time(), "-", "-", response.status, size, 0.0, self._origin.peer, request_id, "-")
        self._close()

    def _misread(self, error: Exception, data: bytes) -> None:
        if self._stop:
            self._linger(len(data))
        elif isinstance(error, httptools.HttpParserUpgrade):
            # Other protocols are not spoken here: the request is answered as if it had not asked (RFC 9110 §7.8).
            if self.phase == BODY:
                self._parser = httptools.HttpRequestParser(self)
                self.phase = IDLE
                self.data_received(head_without_upgrade(self._request) + data[error.args[0] :])
            else:
                self._finish()
        elif self._failure is None and isinstance(error, httptools.HttpParserCallbackError):
            _log.error("reading a request failed", exc_info=error)
            self._fail(InternalError())
        else:
            self._fail(self._failure or BadRequest(f"This is not HTTP/1.1: {error}"))

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

    def _linger(self, size: int) -> None:
        self._lingered += size
        if self._lingered > self._server.limits.linger_bytes:
            self._transport.abort()

    def _head_fits(self, data: bytes) -> bool:
        end = data.find(b"\r\n\r\n")
        return end >= 0 and self._head_bytes + end <= self._server.limits.head_bytes

    def _repeated(self, name: bytes, value: bytes) -> None:
        if name in _ONCE:
            self._failure = BadRequest(f"The field {name.decode('latin-1')} is given twice.")
            return
        joined = self._headers[name] + (b"; " if name == b"cookie" else b", ") + value
        # Without a bound, a head of tiny repeated fields would be copied once for each of them.
        if len(joined) > _MAX_JOINED:
            self._failure = RequestHeaderFieldsTooLarge(f"The field {name.decode('latin-1')} is repeated too often.")
            return
        self._headers[name] = joined

    def _expect(self, expectation: bytes) -> None:
        if expectation.strip().lower() != b"100-continue":
            self._failure = ExpectationFailed()
        elif self._busy or self._queue:
            # Earlier answers go first.
            self._uninvited = self._request
        else:
            self._transport.write(_CONTINUE)

    def _body_limit(self, request: Request) -> int:
        limit = request.route.max_body
        return self._server.limits.body_bytes if limit is None else limit

    def _too_large(self, request: Request) -> ContentTooLarge:
        return ContentTooLarge(f"At most {self._body_limit(request)} bytes are taken here.")
