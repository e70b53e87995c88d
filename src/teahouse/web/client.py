"""An HTTP/1.1 client for the demo, load tools and tests: small and quick, so that what it measures is the server.

Keep-alive connections in a bounded pool, JSON and problem+json, http and https. It follows no redirects and knows no
cookies, compression or proxies. Runs on asyncio's own loop and on uvloop.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import perf_counter
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from teahouse.web.client_wire import Answer, BadAnswer, ClientError, ConnectionLost, Wire

__all__ = ["Answer", "BadAnswer", "Client", "ClientError", "ConnectionLost", "PoolExhausted", "TimedOut", "Unreachable"]

# RFC 9110 §9.2.2: asking these twice does what asking once does.
_IDEMPOTENT = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS"))
_TARGET = re.compile(r"/[!-~]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_LAST_WORDS_SECONDS = 1.0


class Unreachable(ClientError):
    """No connection could be made, so the server has seen nothing of the request."""


class TimedOut(ClientError):
    """The answer was not complete in time. Where ``sent`` is true, nobody here knows what became of the request."""


class PoolExhausted(ClientError):
    """Too many requests wait for a connection already; this one was not sent."""


class Client:
    """``async with Client("http://127.0.0.1:8000") as client: answer = await client.get("/v1/products")``.

    At most ``connections`` are open at once and ``max_waiting`` requests wait for one. ``timeout`` is in seconds and
    covers a request as a whole, the wait for a connection included. Raises ``ClientError`` where no usable answer came;
    every HTTP status is an answer.

    A request is repeated in one case only: a kept connection turns out to be closed before a byte of the answer came,
    and the request is idempotent by its method or its Idempotency-Key. Everything else is for the caller to decide.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 100,
        max_waiting: int = 10_000,
        timeout: float = 10.0,
        max_body: int = 64 << 20,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise ValueError(f"{url} is not an address such as http://127.0.0.1:8000")
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._host = parts.hostname
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._fixed = f"Host: {parts.netloc}\r\nUser-Agent: teahouse\r\n"
        self._timeout = timeout
        self._max_body = max_body
        self._max_waiting = max_waiting
        self._waiting = 0
        self._turns = asyncio.Semaphore(connections)
        self._idle: list[Wire] = []
        self._wires: set[Wire] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes every connection; what is under way fails with ``ConnectionLost``."""
        self._closed = True
        wires = list(self._wires)
        for wire in wires:
            wire.close() if wire.idle else wire.abort()
        if wires:
            _, slow = await asyncio.wait([wire.gone for wire in wires], timeout=_LAST_WORDS_SECONDS)
            for wire in wires:
                if wire.gone in slow:
                    wire.abort()

    @property
    def open_connections(self) -> int:
        """Connections open now, in use or kept."""
        return len(self._wires)

    # --- asking -------------------------------------------------------------------------------------------------------

    async def get(self, path: str, **options: Any) -> Answer:
        """GET; options are those of ``request``."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        """POST; options are those of ``request``."""
        return await self.request("POST", path, **options)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = msgspec.UNSET,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        token: str = "",
        timeout: float | None = None,  # noqa: ASYNC109  # the caller's own patience, in seconds
    ) -> Answer:
        """One request and its answer. ``token`` goes out as a bearer token."""
        started = perf_counter()
        raw = self._render(method, path, json, body, headers or {}, token)
        repeatable = method in _IDEMPOTENT or any(name.lower() == "idempotency-key" for name in headers or ())
        sent: list[Wire] = []
        try:
            async with asyncio.timeout(self._timeout if timeout is None else timeout):
                answer = await self._exchange(raw, sent, head_only=method == "HEAD", repeatable=repeatable)
        except TimeoutError:
            raise TimedOut(f"{method} {path}: no answer in time", sent=bool(sent)) from None
        answer.seconds = perf_counter() - started
        return answer

    async def hang_up(self, method: str, path: str, **options: Any) -> None:
        """Sends a request and closes the connection without waiting for the answer.

        Options are those of ``request`` but ``timeout``.
        """
        fields = {"json": msgspec.UNSET, "body": b"", "headers": {}, "token": "", **options}
        raw = self._render(method, path, fields["json"], fields["body"], fields["headers"], fields["token"])
        try:
            async with asyncio.timeout(self._timeout), self._turn():
                wire = self._kept() or await self._connect()
                wire.send_and_close(raw)
                await wire.gone
        except TimeoutError:
            raise TimedOut(f"{method} {path}: it could not be sent in time") from None

    async def _exchange(self, raw: bytes, sent: list[Wire], *, head_only: bool, repeatable: bool) -> Answer:
        async with self._turn():
            kept = self._kept()
            if kept is not None:
                sent.append(kept)
                try:
                    return await self._ask(kept, raw, head_only=head_only)
                except ConnectionLost as lost:
                    if not repeatable or lost.begun or self._closed:
                        raise
                    # RFC 9112 §9.3.1: the server closed it for being idle just as the request left.
                    sent.clear()
            fresh = await self._connect()
            sent.append(fresh)
            return await self._ask(fresh, raw, head_only=head_only)

    async def _ask(self, wire: Wire, raw: bytes, *, head_only: bool) -> Answer:
        try:
            answer = await wire.ask(raw, head_only=head_only)
        except BaseException:
            # An answer that is still coming would be taken for the next request's.
            wire.abort()
            raise
        if wire.reusable and not self._closed:
            self._idle.append(wire)
        else:
            wire.close()
        return answer

    # --- connections --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._closed:
            raise ConnectionLost("the client is closed", sent=False)
        if self._waiting >= self._max_waiting:
            raise PoolExhausted(f"{self._waiting} requests are waiting for a connection already", sent=False)
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    def _kept(self) -> Wire | None:
        while self._idle:
            # The one used last: its server is the least likely to have closed it, and spare ones age out.
            wire = self._idle.pop()
            if wire.reusable:
                return wire
        return None

    async def _connect(self) -> Wire:
        loop = asyncio.get_running_loop()
        try:
            _, wire = await loop.create_connection(
                lambda: Wire(loop, self._max_body, self._lost), self._host, self._port, ssl=self._tls
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise Unreachable(f"{self._host}:{self._port} cannot be reached: {reason}", sent=False) from error
        self._wires.add(wire)
        return wire

    def _lost(self, wire: Wire) -> None:
        self._wires.discard(wire)
        if wire in self._idle:
            self._idle.remove(wire)

    def _render(self, method: str, path: str, json: Any, body: bytes, headers: Mapping[str, str], token: str) -> bytes:
        if _TARGET.fullmatch(path) is None or _TOKEN.fullmatch(method) is None:
            raise ValueError(f"{method!r} {path!r} cannot be a request line")
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._fixed}"
        if json is not msgspec.UNSET:
            body = msgspec.json.encode(json)
            head += "Content-Type: application/json\r\n"
        if body or method in ("POST", "PUT", "PATCH"):
            head += f"Content-Length: {len(body)}\r\n"
        if token:
            head += _field("Authorization", f"Bearer {token}")
        for name, value in headers.items():
            head += _field(name, value)
        return head.encode("latin-1") + b"\r\n" + body


def _field(name: str, value: str) -> str:
    # A line break in a value would begin a header, or a request, of somebody else's making.
    if _TOKEN.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
        raise ValueError(f"the header {name!r} cannot be sent with that value")
    return f"{name}: {value}\r\n"
