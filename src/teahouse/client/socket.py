"""One person's WebSocket: lean, because thousands share one core with each other."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

import msgspec

from teahouse.client.wire import (
    ABNORMAL,
    CLOSE,
    NO_CODE,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    Address,
    NotAFrame,
    frame,
    payload_at,
)

_MOST_HEAD = 64 * 1024
_NORMAL = (1000).to_bytes(2, "big")


class Refused(Exception):
    """The socket was not let in. ``status`` is the upgrade's HTTP status, ``code`` a close code, or either is 0."""

    def __init__(self, reason: str, *, status: int = 0, code: int = 0) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code


class Socket(asyncio.Protocol):
    """``upgrade`` is ``wire.request``'s. ``welcomed`` is done when everything is heard from then on, or fails with
    ``Refused``. A subclass says what is done with a text that was ``received``, and calls ``let_in`` at the welcome.
    """

    __slots__ = ("_accept", "_code", "_leaving", "_request", "_rest", "_transport", "welcomed")

    def __init__(self, upgrade: tuple[bytes, bytes]) -> None:
        self.welcomed: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self._request, self._accept = upgrade
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._code = ABNORMAL
        self._leaving = False

    # --- for subclasses -----------------------------------------------------------------------------------------------

    def received(self, payload: bytes) -> None:
        """A whole text message, UTF-8. ``msgspec.DecodeError`` says that no server may send it, and cuts the socket."""
        raise NotImplementedError

    def let_in(self) -> None:
        """The welcome was received."""
        if self.welcomed is not None:
            if not self.welcomed.done():
                self.welcomed.set_result(None)
            self.welcomed = None

    def ended(self, code: int) -> None:
        """A socket that was welcomed is over, with that close code."""
        raise NotImplementedError

    # --- going out ----------------------------------------------------------------------------------------------------

    async def connect(self, address: Address, tls: ssl.SSLContext | None, *, patience: float) -> None:
        """Returns when it is welcomed. Raises ``Refused``, ``OSError``; ``TimeoutError`` after ``patience`` seconds."""
        welcomed = self.welcomed
        assert welcomed is not None
        try:
            async with asyncio.timeout(patience):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: self, address.host, address.port, ssl=tls)
                await welcomed
        except BaseException:
            self.abort()
            if not welcomed.cancel() and not welcomed.cancelled():
                # Nobody else will ask for it.
                welcomed.exception()
            raise

    @property
    def is_open(self) -> bool:
        """Frames can be sent."""
        return self._transport is not None and self.welcomed is None and not self._leaving

    def say(self, id: str, room: str, content: bytes) -> None:  # noqa: A002 - the frame's name
        """Sends a text to the room; ``content`` is JSON."""
        self._write(TEXT, b'{"type":"text","id":"%b","to":"room:%b","content":%b}' % (
            id.encode(), room.encode(), content,
        ))  # fmt: skip

    def sync(self, room: str, after: int) -> None:
        """Asks for what was said in the room above that ``seq``."""
        self._write(TEXT, b'{"type":"sync","after":{"room:%b":%d}}' % (room.encode(), after))

    def leave(self) -> None:
        """Says goodbye; the server closes."""
        if self._transport is not None and not self._leaving:
            self._write(CLOSE, _NORMAL)
            self._leaving = True

    def abort(self) -> None:
        """Cuts the connection."""
        self._leaving = True
        if self._transport is not None:
            self._transport.abort()

    def _write(self, first: int, payload: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame(first, payload))

    # --- called by the transport --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol; uvloop's transports are asyncio.Transport in all but name."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)
        self._request = b""

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._transport = None
        if self.welcomed is not None:
            reason = error or f"close code {self._code}"
            self._refuse(f"the connection ended before the welcome ({reason})", code=self._code)
        else:
            self.ended(self._code)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        place = 0
        if self._accept:
            place = self._shake_hands(data)
            if not place:
                return
        try:
            while (found := payload_at(data, place)) is not None:
                start, stop = found
                self._take(data[place], data[start:stop])
                place = stop
        except (NotAFrame, msgspec.DecodeError, UnicodeDecodeError) as error:
            self._give_up(str(error))
        else:
            self._rest = data[place:]

    # --- coming in ----------------------------------------------------------------------------------------------------

    def _shake_hands(self, data: bytes) -> int:
        """Where frames begin, or 0 where the head is not whole or not an upgrade."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > _MOST_HEAD:
                self._give_up("the answer's head does not end")
            self._rest = data
            return 0
        status = data[:12].rpartition(b" ")[2]
        if not data.startswith(b"HTTP/1.1 ") or not status.isdigit():
            self._give_up("the answer is not HTTP")
        elif status != b"101":
            self._give_up(f"the upgrade was answered with {status.decode()}", status=int(status))
        elif all(line.partition(b":")[2].strip() != self._accept for line in data[:end].split(b"\r\n")):
            self._give_up("the server did not prove that it speaks WebSocket")
        else:
            self._accept = b""
            return end + 4
        return 0

    def _give_up(self, reason: str, *, status: int = 0) -> None:
        self._code = PROTOCOL_ERROR
        self._refuse(reason, status=status)
        if self._transport is not None:
            self._transport.abort()

    def _refuse(self, reason: str, *, status: int = 0, code: int = 0) -> None:
        if self.welcomed is not None and not self.welcomed.done():
            self.welcomed.set_exception(Refused(reason, status=status, code=code))

    # --- frames -------------------------------------------------------------------------------------------------------

    def _take(self, first: int, payload: bytes) -> None:
        if first == TEXT:
            self.received(payload)
        elif first == PING:
            self._write(PONG, payload)
        elif first == CLOSE:
            self._code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else NO_CODE
            if not self._leaving:
                self._write(CLOSE, payload[:2])
                self._leaving = True
            if self._transport is not None:
                self._transport.close()
        elif first != PONG:
            raise NotAFrame(f"a frame that begins with 0x{first:02x}: no extension and no part of a message was agreed")
