"""One WebSocket on asyncio (RFC 6455): its upgrade, frames in, frames out in one write a turn, and an orderly end.

A server never masks (§5.1), so a message for many sockets is framed once, as the same bytes for all.
"""

from __future__ import annotations

import asyncio
from typing import cast

from teahouse.messages.assembling import Assembly, WireLimits
from teahouse.messages.close_codes import INVALID_TEXT, MESSAGE_TOO_BIG, PROTOCOL_ERROR, TOO_SLOW, UNSUPPORTED_DATA
from teahouse.messages.framing import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Broken,
    Header,
    close_payload,
    code_to_answer,
    frame,
    read_header,
    unmask,
)
from teahouse.messages.outbox import Outbox

_PING_FRAME = frame(PING, b"")
# Whoever waits for a slow reader looks again after so long, whatever the transport tells.
_LOOK_SECONDS = 1.0
# Frames that come after a close was sent, before its answer.
_MOST_IGNORED = 256
_HEAD_END = b"\r\n\r\n"


class WebSocket(asyncio.Protocol):
    """A server's end of one connection, from its first byte. Subclasses say what is done with ``received`` text.

    ``ends_at`` is 0 while the connection goes on, else the loop's time at which ``abort`` is due, whatever the other
    side does: whoever keeps the sockets looks at it now and then, since a socket has no timer of its own.
    """

    __slots__ = (
        "_backed_up",
        "_corked",
        "_deaf",
        "_drained",
        "_ignored",
        "_limits",
        "_message",
        "_out",
        "_outbox",
        "_pending",
        "_upgraded",
        "_wire",
        "ends_at",
    )

    takes_binary = False

    def __init__(self, outbox: Outbox, limits: WireLimits, *, corked: bool = False) -> None:
        self.ends_at = 0.0
        self._wire: asyncio.Transport | None = None
        self._outbox = outbox
        self._limits = limits
        self._corked = corked
        # Nothing that comes is looked at any more.
        self._deaf = False
        self._ignored = 0
        self._upgraded = False
        self._out: list[bytes] | None = None
        # The transport holds more than half of what may wait: only then is it asked how much.
        self._backed_up = False
        self._pending: bytearray | None = None
        self._message: Assembly | None = None
        self._drained: asyncio.Future[None] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether somebody is there."""
        return self._wire is not None and not self._wire.is_closing()

    @property
    def peer(self) -> str:
        """The address at the other end of the connection; empty where it has none."""
        found = None if self._wire is None else self._wire.get_extra_info("peername")
        return found[0] if found else ""

    @property
    def is_asking(self) -> bool:
        """Whether somebody waits for an answer to their request to upgrade, or has not sent it yet."""
        return self.is_connected and not self._upgraded and not self._deaf

    # --- for subclasses -----------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """A connection has come, on which nothing was said yet."""

    def asked(self, head: bytes | None) -> None:
        """The head of a request is here, without the empty line: ``accept`` or ``refuse`` it, now or later. None for
        one that is too large.
        """
        raise NotImplementedError

    def received(self, text: str) -> None:
        """A whole text message."""
        raise NotImplementedError

    def received_binary(self, payload: bytes) -> None:
        """A whole binary message, where the class ``takes_binary``."""

    def heard_control(self) -> bool:
        """A ping or a pong came; False where a ping is not to be answered."""
        return True

    def heard_fragment(self) -> None:
        """A fragment of a message begins."""

    def ending(self) -> None:
        """Nothing more is sent or received. Called once."""

    def ended(self) -> None:
        """The connection is gone. Called once."""

    # --- the upgrade --------------------------------------------------------------------------------------------------

    def accept(self, answer: bytes) -> None:
        """Answers the upgrade; what the client sent with it is read now."""
        wire, rest, self._pending = self._wire, self._pending, None
        assert wire is not None
        self._upgraded, self.ends_at = True, 0.0
        wire.write(answer)
        wire.resume_reading()
        if rest:
            self.data_received(bytes(rest))

    def refuse(self, answer: bytes) -> None:
        """Answers something else, and ends the connection."""
        if self._wire is not None and self.is_asking:
            self._wire.write(answer)
            self._finish()

    def _read_head(self, data: bytes) -> None:
        pending = self._pending
        if pending is None:
            pending = self._pending = bytearray()
        # Once, however small the pieces are in which it comes.
        seen = max(len(pending) - len(_HEAD_END) + 1, 0)
        pending += data
        end = pending.find(_HEAD_END, seen)
        too_large = (len(pending) if end < 0 else end) > self._limits.head_bytes
        if end < 0 and not too_large:
            return
        head = bytes(pending[:end])
        self._pending = pending[end + len(_HEAD_END) :]
        if self._wire is not None:
            self._wire.pause_reading()
        self.asked(None if too_large else head)

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """One text message, UTF-8; leaves with others at the end of the loop's turn. Dropped once the socket ends."""
        if self.ends_at:
            return
        # Each of thousands of receivers passes here: two calls fewer are a fiftieth of what a delivery costs.
        outbox = self._outbox
        framed = outbox.frame if frame is outbox.payload else outbox.framed(frame)
        if self._out is None and not self._corked:
            self._out = [framed]
            outbox.add(self)
        else:
            self._put(framed)

    def _put(self, framed: bytes) -> None:
        out = self._out
        if out is None:
            self._out = [framed]
            if not self._corked:
                self._outbox.add(self)
            return
        out.append(framed)
        if self._corked and len(out) > self._limits.early_frames:
            self.close(TOO_SLOW, "too much before the welcome")

    def uncork(self, first: bytes) -> None:
        """Sends ``first``, and then what was sent since the beginning."""
        if self.ends_at:
            return
        self._corked = False
        self._out = [self._outbox.framed(first), *(self._out or ())]
        self._outbox.add(self)

    def ping(self) -> None:
        """Asks the other side for a sign of life."""
        if not self.ends_at:
            self._put(_PING_FRAME)

    def flush(self) -> None:
        """Hands to the transport what was sent in this turn, in one write."""
        out, self._out = self._out, None
        wire = self._wire
        if out is None or wire is None or wire.is_closing():
            return
        if self._backed_up and wire.get_write_buffer_size() > self._limits.unsent_bytes:
            self.close(TOO_SLOW, "too slow")
        else:
            wire.write(out[0] if len(out) == 1 else b"".join(out))

    async def drained(self) -> None:
        """Returns when less than half of ``unsent_bytes`` waits for the other side, or the socket ends."""
        if not self._corked:
            self.flush()
        while self._wire is not None and not self.ends_at:
            if self._wire.get_write_buffer_size() <= self._limits.unsent_bytes // 2:
                return
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._drained], timeout=_LOOK_SECONDS)

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self, code: int, reason: str = "") -> None:
        """Sends what was sent before, then the close; what comes after it is dropped in both directions."""
        if self.ends_at or self._wire is None or not self._upgraded:
            return
        if not self._corked and code != TOO_SLOW:
            self.flush()
        if not self.ends_at:
            self._wire.write(frame(CLOSE, close_payload(code, reason)))
            self._wire.resume_reading()
            self._end()

    def abort(self) -> None:
        """Ends the connection at once; what waits for the other side is dropped."""
        if self._wire is not None:
            self._end()
            self._wire.abort()

    def _finish(self) -> None:
        """Nothing more is written. What still comes is dropped until the other side has read all and closes too: to
        close with bytes unread would reset the connection, and the other side might never read the last ones.
        """
        self._end()
        self._deaf = True
        self._pending = self._message = None
        if self._wire is not None and self.is_connected:
            self._wire.write_eof()
            self._wire.resume_reading()

    def _end(self) -> None:
        if self._upgraded and self.ends_at:
            return
        self.ends_at = asyncio.get_running_loop().time() + self._limits.close_seconds
        self._out = None
        self._release()
        if self._upgraded:
            self.ending()

    def _release(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # --- called by the transport --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # uvloop's transports are asyncio.Transport in all but name.
        self._wire = cast("asyncio.Transport", transport)
        self._wire.set_write_buffer_limits(high=self._limits.unsent_bytes // 2)
        self.ends_at = asyncio.get_running_loop().time() + self._limits.head_seconds
        self.connected()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """See asyncio.Protocol."""
        self._end()
        self._wire = self._pending = self._message = None
        self.ended()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._backed_up = True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._backed_up = False
        self._release()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if not self._upgraded:
            if not self._deaf:
                self._read_head(data)
            return
        if self._pending is not None:
            data, self._pending = bytes(self._pending) + data, None
        place = 0
        try:
            while place < len(data) and not self._deaf:
                place = self._read(data, place)
        except Broken as broken:
            self._fail(broken.code, broken.reason)
        except UnicodeDecodeError:
            self._fail(INVALID_TEXT, "invalid UTF-8")

    def _fail(self, code: int, reason: str) -> None:
        self.close(code, reason)
        self._finish()

    # --- frames in ----------------------------------------------------------------------------------------------------

    def _read(self, data: bytes, place: int) -> int:
        """Reads what is next; returns the place behind it."""
        message = self._message
        if message is not None and message.left:
            return self._read_on(message, data, place)
        if self.ends_at and self._is_tired():
            return len(data)
        header = read_header(data, place)
        if isinstance(header, int) or (header.opcode >= CLOSE and place + header.end > len(data)):
            # At most a header and the payload of a control frame.
            self._pending = bytearray(data[place:])
            return len(data)
        if header.opcode >= CLOSE:
            start, end = place + header.start, place + header.end
            self._control(header.opcode, unmask(data[start - 4 : start], data[start:end]))
            return end
        return self._read_data(header, data, place)

    def _is_tired(self) -> bool:
        """Looks for the answer to a close among so many frames at most: whoever floods is not worth the time."""
        self._ignored += 1
        if self._ignored > _MOST_IGNORED:
            self._finish()
        return self._deaf

    def _read_data(self, header: Header, data: bytes, place: int) -> int:
        message = self._message
        if (header.opcode == CONTINUATION) != (message is not None):
            raise Broken(PROTOCOL_ERROR, "fragments out of order")
        if header.opcode == BINARY and not self.takes_binary:
            raise Broken(UNSUPPORTED_DATA, "text only")
        start, end = place + header.start, place + header.end
        mask = data[start - 4 : start]
        if header.opcode == TEXT and header.fin and end <= len(data):
            # Nearly every message.
            if end - start > self._limits.message_bytes:
                raise Broken(MESSAGE_TOO_BIG, "message too big")
            text = unmask(mask, data[start:end]).decode()
            if not self.ends_at:
                self.received(text)
            return end
        if message is None:
            message = self._message = Assembly(text=header.opcode == TEXT)
        message.begin(header, mask, self._limits)
        self.heard_fragment()
        return self._read_on(message, data, start)

    def _read_on(self, message: Assembly, data: bytes, place: int) -> int:
        piece = data[place : place + message.left]
        if message.take(piece):
            self._message = None
            if not self.ends_at:
                self._deliver(message.whole())
        return place + len(piece)

    def _deliver(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.received(message)
        else:
            self.received_binary(message)

    def _close_heard(self, payload: bytes) -> None:
        if self.ends_at and self._wire is not None:
            # Who answers a close has read everything before it.
            self._deaf = True
            self._wire.close()
        else:
            self.close(code_to_answer(payload))
            self._finish()

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._close_heard(payload)
        elif not self.ends_at and self.heard_control() and opcode == PING and not self.ends_at:
            self._put(frame(PONG, payload))
