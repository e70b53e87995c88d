"""RFC 6455 from the client's side, as much as a server without extensions needs: bytes and rules, no connection."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from typing import NamedTuple
from urllib.parse import urlsplit

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
"""First bytes of frames that are whole and have no extension."""

PATH = "/message"
# RFC 6455 §7.1.5: the connection ended without a close frame. It never stands in one.
ABNORMAL = 1006
PROTOCOL_ERROR = 1002
NO_CODE = 1005

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOST_BYTES = 1 << 24


class NotAFrame(Exception):
    """The server sent what this client cannot read; the message says what."""


class NotAnAddress(ValueError):
    """This names no place for WebSockets; the message says which text."""


class Address(NamedTuple):
    """Where WebSockets are."""

    host: str
    port: int
    secure: bool
    target: str
    url: str


def read_address(url: str) -> Address:
    """``ws://host:port``, with a path where a proxy adds one. Raises ``NotAnAddress``."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise NotAnAddress(f"{url} is not an address such as ws://127.0.0.1:8001")
    secure = parts.scheme == "wss"
    target = parts.path.rstrip("/").removesuffix(PATH) + PATH
    return Address(parts.hostname, port or (443 if secure else 80), secure, target, url)


def request(address: Address, token: str) -> tuple[bytes, bytes]:
    """The request for an upgrade, and the Sec-WebSocket-Accept that must come back."""
    key = base64.b64encode(os.urandom(16))
    host = f"[{address.host}]" if ":" in address.host else address.host
    head = (
        f"GET {address.target} HTTP/1.1\r\nHost: {host}:{address.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key.decode()}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    )
    return head.encode(), base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def frame(first: int, payload: bytes) -> bytes:
    """A masked frame."""
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    mask = os.urandom(4)
    stretched = (mask * (size // 4 + 1))[:size]
    covered = int.from_bytes(payload, "little") ^ int.from_bytes(stretched, "little")
    return head + mask + covered.to_bytes(size, "little")


def payload_at(data: bytes, place: int) -> tuple[int, int] | None:
    """Where the payload of the frame at that place begins and ends, or None where more must come.

    Raises ``NotAFrame``.
    """
    have = len(data) - place
    if have < 2:
        return None
    size = data[place + 1]
    start = place + 2
    if size >= 126:
        if size > 127:
            raise NotAFrame("a masked frame")
        start += 2 if size == 126 else 8
        if len(data) < start:
            return None
        size = int.from_bytes(data[place + 2 : start], "big")
        if size > _MOST_BYTES:
            raise NotAFrame(f"a frame of {size:,} bytes")
    stop = start + size
    return (start, stop) if stop <= len(data) else None
