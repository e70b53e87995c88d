"""One person's WebSocket. While messages fly it only notes down what came and when: the books are done afterwards."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

from bench.failures import BenchFailed
from bench.messages.books import Noted
from bench.messages.dialects import Dialect, Kind
from bench.messages.frames import CLOSE, PING, PONG, SHORT, TEXT, check_upgrade, masked, split

_HEAD_END = b"\r\n\r\n"
_LINE = b"\n"


class Listener(asyncio.Protocol):
    """Somebody who has come in. ``note`` is called for all bytes that came; ``lost`` when the connection ends."""

    __slots__ = ("_dialect", "_lost", "_note", "_place", "_rest", "_wire")

    def __init__(
        self, wire: Any, dialect: Dialect, place: int, note: Callable[[Noted], None], lost: Callable[[str], None]
    ) -> None:
        self._wire = wire
        self._dialect = dialect
        self._place = place
        self._note = note
        self._lost = lost
        self._rest = b""

    def say(self, number: int, room: str, content: bytes) -> None:
        """Sends a message to the room."""
        self._wire.write(masked(TEXT, self._dialect.say(number, room, content)))

    def abort(self) -> None:
        """Cuts the connection."""
        self._lost = _ignore
        self._wire.abort()

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        # Nearly always: one whole frame of a middle size, with one text in it.
        if (
            len(data) > 4
            and data[1] == SHORT
            and data[0] == TEXT
            and len(data) == (data[2] << 8 | data[3]) + 4
            and data.find(_LINE, 4) < 0
            and not self._rest
        ):
            self._note((now, self._place, data))
        else:
            self._look_closer(now, data)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost(str(error or "the server closed a connection"))

    def _look_closer(self, now: float, data: bytes) -> None:
        data = self._rest + data
        frames, end = split(data)
        said = False
        for first, payload in frames:
            if first == PING:
                self._wire.write(masked(PONG, payload))
            elif first == CLOSE:
                self._lost(f"the server closed one: {payload[2:].decode(errors='replace') or payload[:2].hex()}")
            elif self._dialect.pong is not None and self._is_ping(payload):
                self._wire.write(masked(TEXT, self._dialect.pong))
                said |= len(payload) > len(self._dialect.pong)
            else:
                said |= first == TEXT
        self._rest = data[end:]
        # A ping alone is no note: the load waits for as many as there are messages to hear.
        if said:
            self._note((now, self._place, data[:end]))

    def _is_ping(self, payload: bytes) -> bool:
        return any(event.kind is Kind.PING for event in self._dialect.read(payload))


class Newcomer(asyncio.Protocol):
    """A connection until its person has come in: the upgrade, and the answers to ``entry``. Then a ``Listener`` has it.

    ``entered`` is done then, or fails with BenchFailed.
    """

    def __init__(
        self,
        upgrade: tuple[bytes, bytes],
        dialect: Dialect,
        entry: list[bytes],
        listener: Callable[[Any], Listener],
    ) -> None:
        self.entered: asyncio.Future[Listener] = asyncio.get_running_loop().create_future()
        self._request, self._accept = upgrade
        self._dialect = dialect
        self._entry = entry
        self._left = dialect.steps(entry)
        self._listener = listener
        self._wire: Any = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = transport
        self._wire.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        try:
            if self._accept:
                self._shake_hands()
            if not self._accept:
                self._come_in()
        except BenchFailed as failed:
            self._fail(failed)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(BenchFailed(f"a connection ended before its person was in: {error or 'closed'}"))

    def _fail(self, failed: BenchFailed) -> None:
        if not self.entered.done():
            self.entered.set_exception(failed)
            self._wire.abort()

    def _shake_hands(self) -> None:
        head, end, rest = self._data.partition(_HEAD_END)
        if end:
            check_upgrade(head, self._accept)
            self._data, self._accept = rest, b""
            for frame in self._entry:
                self._wire.write(masked(TEXT, frame))

    def _come_in(self) -> None:
        frames, end = split(self._data)
        for first, payload in frames:
            if first != TEXT:
                raise BenchFailed(f"a frame that begins with 0x{first:02x} came before a person was in")
            self._left -= sum(event.kind is Kind.ENTERED for event in self._dialect.read(payload))
        self._data = self._data[end:]
        if not self._left and not self.entered.done():
            listener = self._listener(self._wire)
            self._wire.set_protocol(listener)
            self.entered.set_result(listener)
            if self._data:
                listener.data_received(self._data)


def _ignore(_reason: str) -> None:
    """Whoever leaves need not be told that they are gone."""
