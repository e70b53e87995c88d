"""The end of a listening socket, without losing who is just connecting.

Linux resets the connections that wait in the queue of a listening socket when it closes, and between the last accept
and the close there is always room for one more. So new connections are turned away first, where the socket lives: a
packet filter of its own drops the first packet of each (SYN), as a busy network would. Their callers try again after a
second and find the socket closed. What had begun to connect goes on, and is accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import struct
from array import array

# <asm-generic/socket.h>; the socket module does not name it.
_SO_ATTACH_FILTER = 26
# Classic BPF (Linux: Documentation/networking/filter.rst) over the TCP header: code, jump if true, if false, operand.
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the byte with the flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFF_FFFF),  # keep
)
# A handshake takes a round trip: none to speak of on this machine, a tenth of a second to most callers.
_LOCAL_SECONDS = 0.01
_REMOTE_SECONDS = 0.1


def turn_away(doors: asyncio.Server) -> float:
    """Lets no further connection begin. Returns the seconds within which those that have begun are there.

    Where the system has no such filter nothing changes, and a close may reset a connection.
    """
    pause = 0.0
    for each in doors.sockets:
        with socket.socket(fileno=os.dup(each.fileno())) as sock:
            program = array("B", b"".join(struct.pack("HBBI", *step) for step in _NO_SYN))
            address, _ = program.buffer_info()
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(_NO_SYN), address))
            pause = max(pause, _LOCAL_SECONDS if _is_local(sock.getsockname()[0]) else _REMOTE_SECONDS)
    return pause


def _is_local(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
