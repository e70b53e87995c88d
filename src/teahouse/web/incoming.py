"""What comes in on an HTTP/1.1 connection (RFC 9112): from bytes, by way of llhttp, to requests.

Everything that a request costs passes through here, hence the plain style; docs/architecture.md has the measurements.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING

import httptools

from teahouse.problems import (
    BadRequest,
    ContentTooLarge,
    ExpectationFailed,
    InternalError,
    Problem,
    RequestHeaderFieldsTooLarge,
)
from teahouse.web.fields import joined
from teahouse.web.origin import Origin
from teahouse.web.request import Request
from teahouse.web.streaming import BodyStream, ClientGone
from teahouse.web.transport import head_without_upgrade

if TYPE_CHECKING:
    from teahouse.web.server import Server

_log = logging.getLogger(__name__)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# What the connection is waiting for. Plain integers: an enum member costs a look-up at every comparison.
IDLE, HEAD, BODY, CLOSING = range(4)


class _Enough(Exception):
    """Stops the parser: nothing further in this piece of input is to be carried out."""


class Incoming(asyncio.Protocol):
    """Reads requests one after the other; those that come while one is being answered wait in ``_queue``.

    ``phase`` and ``since`` (a server tick) say what it is waiting for and from when on. Once ``_stop`` is set nothing
    more is read: the connection ends after the answers that are due.
    """

    __slots__ = (
        "_asked", "_body_bytes", "_busy", "_chunks", "_failure", "_head_bytes", "_headers", "_lingered", "_opened",
        "_origin", "_parser", "_paused", "_queue", "_received", "_request", "_server", "_stop", "_stream", "_transport",
        "_uninvited", "_url", "phase", "since",
    )  # fmt: skip

    _origin: Origin
    _parser: httptools.HttpRequestParser
    _request: Request
    _transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._queue: deque[Request] = deque()
        self._failure: Problem | None = None
        self._asked = self._busy = self._paused = self._stop = False
        self._head_bytes = self._body_bytes = self._received = self._lingered = 0
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._uninvited: Request | None = None
        # The body that is arriving for a handler that reads it meanwhile, and its request until that has been begun.
        self._stream: BodyStream | None = None
        self._opened: Request | None = None
        self.phase = IDLE
        self.since = server.tick

    def _start(self, request: Request) -> None:
        """Answers a complete request. Called while none is being answered."""
        raise NotImplementedError

    def _fail(self, problem: Problem) -> None:
        """Ends the connection with a refusal, after the answers that are due before it."""
        raise NotImplementedError

    def _finish(self) -> None:
        """Ends the connection after the answers that are due."""
        raise NotImplementedError

    # --- called by the transport --------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase > HEAD:
            if not self._may_go_on(phase, data):
                return
        elif self._head_bytes + len(data) > self._server.limits.head_bytes and not self._head_fits(data):
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._misread(error, data)
        else:
            if self._failure is not None or self._opened is not None:
                self._go_on()
            elif self.phase == HEAD and phase != BODY and data.find(b"\r\n\r\n") < 0:
                # Input that also ends a request is not this head's, or not all of it.
                self._head_bytes += len(data)

    def _go_on(self) -> None:
        """What was read calls for more than its parts were given."""
        if self._failure is not None:
            self._fail(self._failure)
        elif self._opened is not None:
            request, self._opened = self._opened, None
            self._line_up(request)

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
            try:
                headers[name] = joined(name, headers[name], value)
            except Problem as problem:
                self._failure = problem
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        if self._failure is not None:
            return
        headers = self._headers
        if b"host" not in headers and self._parser.get_http_version() == "1.1":
            self._failure = BadRequest("A request says which Host it is for (RFC 9112).")
            return
        if len(headers) > self._server.limits.head_fields:
            self._failure = RequestHeaderFieldsTooLarge("There are too many header fields.")
            return
        self.phase = BODY
        self.since = self._server.tick
        self._head_bytes = 0
        self._request = request = self._server.open(self._parser.get_method(), self._url, headers, self._origin)
        request.started = perf_counter()
        self._chunks = []
        self._received = self._body_bytes = 0
        length = int(headers[b"content-length"]) if b"content-length" in headers else None
        if length is not None and length > self._server.body_limit(request):
            self._failure = self._too_large(request)
            return
        if request.route.streams:
            self._open_stream(request, length)
        if b"expect" in headers:
            self._expect(headers[b"expect"])

    def on_body(self, chunk: bytes) -> None:
        if self._failure is not None:
            return
        self._received += len(chunk)
        if self._received > self._server.body_limit(self._request):
            self._failure = self._too_large(self._request)
            self._chunks = []
        elif self._stream is not None:
            self._stream.feed(chunk)
        else:
            self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        if self._failure is not None or self.phase == CLOSING:
            raise _Enough
        request = self._request
        if self._received:
            self._check_coding(request.headers)
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
        if self._stream is None or not self._end_stream(self._stream):
            self._opened = None
            self._line_up(request)
        if self._stop:
            raise _Enough

    def _line_up(self, request: Request) -> None:
        if not self._busy and not self._paused and not self._queue:
            self._start(request)
        elif len(self._queue) < self._server.limits.pipelined:
            self._queue.append(request)
            self._transport.pause_reading()
        else:
            # The client finds the connection closed and asks again what was not answered (RFC 9112 §9.3.2).
            self._stop = True

    # --- bodies that are read while they arrive -----------------------------------------------------------------------

    def _open_stream(self, request: Request, length: int | None) -> None:
        self._check_coding(request.headers)
        self._stream = request.stream = BodyStream(length, self._hold, self._release)
        self._opened = request

    def _end_stream(self, stream: BodyStream) -> bool:
        """Whether its request has been begun already."""
        self._stream = None
        stream.end()
        return self._opened is None

    def _hold(self) -> None:
        self._transport.pause_reading()

    def _release(self) -> None:
        self.since = self._server.tick
        if not self._paused and not self._queue and not self._transport.is_closing():
            self._transport.resume_reading()

    def _break_stream(self, failure: Problem | ClientGone) -> bool:
        """Tells whoever reads the body that no more of it will come; False where nobody does."""
        stream = self._stream
        if stream is None or self._opened is not None:
            return False
        self._stream = None
        stream.fail(failure)
        return not stream.dropped

    def _check_coding(self, headers: dict[bytes, bytes]) -> None:
        coding = headers.get(b"transfer-encoding")
        if coding is not None and coding.strip().lower() != b"chunked":
            self._failure = BadRequest("Of the transfer codings only chunked is undone here.")
            raise _Enough

    def _is_last(self, request: Request) -> None:
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._failure = BadRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
            raise _Enough
        request.close = self._stop = True

    # --- limits -------------------------------------------------------------------------------------------------------

    def _linger(self, size: int) -> None:
        self._lingered += size
        if self._lingered > self._server.limits.linger_bytes:
            self._transport.abort()

    def _head_fits(self, data: bytes) -> bool:
        end = data.find(b"\r\n\r\n")
        limit = self._server.limits.head_bytes
        if end >= 0 and self._head_bytes + end <= limit:
            return True
        self._fail(RequestHeaderFieldsTooLarge(f"At most {limit} bytes are taken."))
        return False

    def _may_go_on(self, phase: int, data: bytes) -> bool:
        if phase == CLOSING:
            self._linger(len(data))
            return False
        limits = self._server.limits
        self.since = self._server.tick
        self._body_bytes += len(data)
        # Chunk extensions and trailers are no content, but they too have an end.
        if self._body_bytes - 8 * self._received <= limits.head_bytes + limits.body_bytes:
            return True
        self._fail(self._too_large(self._request))
        return False

    def _expect(self, expectation: bytes) -> None:
        if expectation.strip().lower() != b"100-continue":
            self._failure = ExpectationFailed()
        elif self._stream is not None:
            # Whoever refuses it by its head alone spares the client from sending it.
            self._stream.expects(self._invite)
        elif self._busy or self._queue:
            # Earlier answers go first.
            self._uninvited = self._request
        else:
            self._transport.write(CONTINUE)

    def _invite(self) -> None:
        self._transport.write(CONTINUE)

    def _too_large(self, request: Request) -> ContentTooLarge:
        return ContentTooLarge(f"At most {self._server.body_limit(request)} bytes are taken here.")
