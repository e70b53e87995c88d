"""What the transport underneath a connection does not tell, and what stands in for one that has gone."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios

from teahouse.web.request import Request

_UPGRADING = frozenset((b"connection", b"upgrade", b"http2-settings"))


class Gone(asyncio.Transport):
    """The transport of a connection that has ended: the answer of a handler that ran on has nowhere to go."""

    def write(self, data: object) -> None:
        """Drops it."""

    def write_eof(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""

    def abort(self) -> None:
        """Does nothing."""

    def is_closing(self) -> bool:
        """Always."""
        return True

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Does nothing."""

    def pause_reading(self) -> None:
        """Does nothing."""

    def resume_reading(self) -> None:
        """Does nothing."""


GONE = Gone()


def unread_by_peer(transport: asyncio.Transport) -> int:
    """Bytes that the kernel has taken and the peer has not acknowledged.

    The kernel holds megabytes for a connection and asks for more only now and then: without this, a slow reader would
    look like one that has stopped.
    """
    sock = transport.get_extra_info("socket")
    if sock is None:
        return 0
    (count,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))
    return int(count)


def head_without_upgrade(request: Request) -> bytes:
    """The head of a request as it would have been sent without asking for another protocol."""
    fields = [b"%b: %b\r\n" % field for field in request.headers.items() if field[0] not in _UPGRADING]
    if b"close" in request.headers[b"connection"].lower():
        fields.append(b"connection: close\r\n")
    target = request.path + ("?" + request.query_string if request.query_string else "")
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method.encode(), target.encode("latin-1"), b"".join(fields))
