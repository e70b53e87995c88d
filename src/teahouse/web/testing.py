"""A client for tests: real requests through the real parser and connection, over memory instead of a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httptools
import msgspec

from teahouse.web.app import App
from teahouse.web.connection import Connection
from teahouse.web.limits import Limits
from teahouse.web.response import JSON, encode_json
from teahouse.web.server import Server

_STOP_SECONDS = 5.0


class Answer:
    """What came back. ``headers`` has lower-case names."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = asyncio.get_running_loop().create_future()

    def json(self) -> Any:
        """The body decoded from JSON."""
        return msgspec.json.decode(self.body)


class TestClient:
    """``async with TestClient(app) as client: answer = await client.get("/ping")``.

    Starts and stops the app. ``client`` is the address requests seem to come from; further keywords go to ``Server``.
    """

    __test__ = False

    def __init__(self, app: App, *, client: str = "127.0.0.1", **server_options: Any) -> None:
        self.app = app
        self._client = client
        self._options = server_options
        self._server: Server

    async def __aenter__(self) -> Self:
        self._server = Server(self.app, **self._options)
        self._server.start_ticking()
        await self.app.startup()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(_STOP_SECONDS)
        await self.app.shutdown(_STOP_SECONDS)
        await self._server.log.aclose()

    async def get(self, path: str, **options: Any) -> Answer:
        """GET; options are those of ``request``."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        """POST."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Any) -> Answer:
        """PUT."""
        return await self.request("PUT", path, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        """DELETE."""
        return await self.request("DELETE", path, **options)

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = msgspec.UNSET,
        body: bytes = b"",
        client: str | None = None,
    ) -> Answer:
        """Sends one request on a connection of its own and waits for its answer."""
        fields = {"Host": "test", **(headers or {})}
        if json is not msgspec.UNSET:
            body = encode_json(json)
            fields.setdefault("Content-Type", JSON)
        if body or method in ("POST", "PUT", "PATCH"):
            fields["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        raw = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
        wire = MemoryTransport(self._server, client or self._client, head_only=method == "HEAD")
        wire.send(raw)
        return await wire.answer()


class MemoryTransport(asyncio.Transport):
    """The server's side of a connection without a socket."""

    def __init__(self, server: Server, client: str, *, head_only: bool = False) -> None:
        super().__init__({"peername": (client, 0)})
        self._head_only = head_only
        self._answers: list[Answer] = []
        self._parser = httptools.HttpResponseParser(self)
        self._closing = False
        self._connection = Connection(server)
        self._current = Answer()
        self._answers.append(self._current)
        self._connection.connection_made(self)

    def send(self, data: bytes) -> None:
        """Bytes from the client."""
        self._connection.data_received(data)

    async def answer(self) -> Answer:
        """The first answer, once it is complete. Raises ``ConnectionResetError`` where there will be none."""
        first = self._answers[0]
        await first.complete
        if not self._closing:
            self._lose()
        return first

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._parser.feed_data(bytes(data))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._current.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._current.status = self._parser.get_status_code()
        if self._head_only:
            self._complete()

    def on_body(self, chunk: bytes) -> None:
        self._current.body += chunk

    def on_message_complete(self) -> None:
        self._complete()

    def _complete(self) -> None:
        if self._current.status >= 200 and not self._current.complete.done():
            self._current.complete.set_result(None)

    def _lose(self) -> None:
        self._closing = True
        self._connection.connection_lost(None)
        if not self._current.complete.done():
            self._current.complete.set_exception(ConnectionResetError("the connection ended without an answer"))
            # Nobody may be waiting any more, and that is no fault.
            self._current.complete.exception()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._lose)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Does nothing: memory is never full."""

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        return None

    def pause_reading(self) -> None:
        return None

    def resume_reading(self) -> None:
        return None


__all__ = ["Answer", "Limits", "MemoryTransport", "TestClient"]
