"""The client's side of one connection: requests out, answers in, one at a time. For ``client.py``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, cast

import httptools
import msgspec

from teahouse.problems import FieldError

T = TypeVar("T")

_MAX_HEAD = 256 * 1024
_WITHOUT_BODY = (204, 304)


class ClientError(Exception):
    """No usable answer. Where ``sent`` is false the server cannot have acted on the request."""

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        super().__init__(reason)
        self.sent = sent


class ConnectionLost(ClientError):
    """The connection ended before the answer was complete; ``begun`` tells whether some of it had come."""

    def __init__(self, reason: str, *, sent: bool = True, begun: bool = False) -> None:
        super().__init__(reason, sent=sent)
        self.begun = begun


class BadAnswer(ClientError):
    """What came back is not HTTP/1.1, or is larger than this client takes."""


class ProblemBody(msgspec.Struct, frozen=True):
    """A problem as it came (RFC 9457). ``slug`` is the last part of its type, such as ``sold-out``."""

    type: str = "about:blank"
    title: str = ""
    status: int = 0
    detail: str = ""
    instance: str = ""
    errors: tuple[FieldError, ...] = ()

    @property
    def slug(self) -> str:
        """The problem's name in Teahouse's vocabulary."""
        return self.type.rpartition("/")[2]


class Answer:
    """What came back. ``headers`` has lower-case names; ``seconds`` is the caller's whole wait."""

    __slots__ = ("body", "headers", "seconds", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.seconds = 0.0

    def json(self) -> Any:
        """The body decoded from JSON; raises ``BadAnswer``."""
        return self._decoded(Any)

    def read(self, kind: type[T]) -> T:
        """The body as that msgspec type; raises ``BadAnswer`` where it does not fit."""
        return cast("T", self._decoded(kind))

    @property
    def problem(self) -> ProblemBody | None:
        """The problem, where the answer is one; raises ``BadAnswer`` where it claims to be and is not."""
        if not self.headers.get("content-type", "").startswith("application/problem+json"):
            return None
        return self.read(ProblemBody)

    def _decoded(self, kind: Any) -> Any:
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadAnswer(f"the answer's JSON is not as expected: {error}") from error


class Wire(asyncio.Protocol):
    """One connection. ``gone`` is done when it has ended; ``lost`` is called then."""

    __slots__ = (
        "_answer",
        "_chunks",
        "_coming",
        "_head_bytes",
        "_head_only",
        "_in_head",
        "_lost",
        "_max_body",
        "_parser",
        "_received",
        "_transport",
        "gone",
        "reusable",
    )

    _transport: asyncio.Transport
    _answer: Answer

    def __init__(self, loop: asyncio.AbstractEventLoop, max_body: int, lost: Callable[[Wire], None]) -> None:
        self.gone: asyncio.Future[None] = loop.create_future()
        self.reusable = True
        self._lost = lost
        self._max_body = max_body
        self._coming: asyncio.Future[Answer] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._head_only = False
        self._in_head = True
        self._head_bytes = self._received = 0
        self._chunks: list[bytes] = []

    @property
    def idle(self) -> bool:
        """No answer is due."""
        return self._coming is None

    def ask(self, raw: bytes, *, head_only: bool) -> asyncio.Future[Answer]:
        """Sends a request; the future is its answer, or ``ConnectionLost`` or ``BadAnswer``."""
        self._answer = Answer()
        self._coming = coming = asyncio.get_running_loop().create_future()
        self._head_only = head_only
        self._in_head = True
        self._head_bytes = self._received = 0
        if self.gone.done():
            self._fail(ConnectionLost("the connection was closed"))
        else:
            self._transport.write(raw)
        return coming

    def send_and_close(self, raw: bytes) -> None:
        """Sends a request and nothing more; what is answered is not read."""
        self._transport.write(raw)
        self.close()

    def close(self) -> None:
        """Ends the connection in order."""
        self.reusable = False
        self._transport.close()

    def abort(self) -> None:
        """Cuts the connection."""
        self.reusable = False
        self._transport.abort()

    # --- called by the transport --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol; uvloop's transports are asyncio.Transport in all but name."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.reusable = False
        self._fail(ConnectionLost(f"the connection ended before the answer: {error or 'closed'}", begun=self._begun))
        self._lost(self)
        if not self.gone.done():
            self.gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._coming is None:
            # Nothing was asked: whatever this is, it must not become the next request's answer.
            self.abort()
            return
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(BadAnswer(f"the answer is not HTTP/1.1 as asked for: {error}"))
            self.abort()
        else:
            if self._in_head and self._head_bytes > _MAX_HEAD:
                self._fail(BadAnswer(f"the answer's head is longer than {_MAX_HEAD} bytes"))
                self.abort()

    # --- called by the parser -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A second answer to one request makes the connection useless; the first one stands."""
        if self._coming is None:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field; fields of the same name are one list (RFC 9110 §5.2)."""
        if not self._in_head or self._coming is None:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers = self._answer.headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        """The head is there."""
        if self._coming is None:
            return
        answer = self._answer
        answer.status = self._parser.get_status_code()
        if answer.status < 200:
            answer.headers = {}
            return
        self._in_head = False
        if self._head_only:
            # The parser cannot be told that no body follows, so this connection has served its time.
            self.reusable = False
            self._succeed()
        elif answer.status not in _WITHOUT_BODY and not answer.headers.keys() & {"content-length", "transfer-encoding"}:
            # Its end would be the connection's end, which is also what a cut answer looks like.
            self._fail(BadAnswer("the answer does not say how long it is"))
            self.abort()

    def on_body(self, chunk: bytes) -> None:
        """Some of the body."""
        if self._coming is None:
            return
        self._received += len(chunk)
        if self._received > self._max_body:
            self._fail(BadAnswer(f"the answer's body is longer than {self._max_body} bytes"))
            self.abort()
        else:
            self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        """The answer is there, unless it was an interim one."""
        if self._coming is None or self._in_head:
            return
        if not self._parser.should_keep_alive():
            self.reusable = False
        self._answer.body = b"".join(self._chunks)
        self._succeed()

    @property
    def _begun(self) -> bool:
        return self._head_bytes > 0

    def _succeed(self) -> None:
        coming, self._coming, self._chunks = self._coming, None, []
        if coming is not None and not coming.done():
            coming.set_result(self._answer)

    def _fail(self, error: ClientError) -> None:
        coming, self._coming, self._chunks = self._coming, None, []
        if coming is not None and not coming.done():
            coming.set_exception(error)
