"""RFC 6455 from the client's side, as far as servers without extensions need it: bytes and rules, no connection."""

import base64
import hashlib
import os
import struct

from bench.failures import BenchFailed

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
"""First bytes of whole frames."""
SHORT = 126
"""Below that a payload's length is in the second byte."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def request(port: int, path: str, token: str | None) -> tuple[bytes, bytes]:
    """The request for an upgrade, and the Sec-WebSocket-Accept that must come back."""
    key = base64.b64encode(os.urandom(16))
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key.decode()}",
        *([f"Authorization: Bearer {token}"] if token else []),
    ]
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return "\r\n".join([*lines, "", ""]).encode(), accept


def check_upgrade(head: bytes, accept: bytes) -> None:
    """Raises BenchFailed unless the answer's head accepts the upgrade."""
    status, *lines = head.split(b"\r\n")
    if not status.startswith(b"HTTP/1.1 101") or all(line.partition(b":")[2].strip() != accept for line in lines):
        raise BenchFailed(f"the upgrade was answered with {status.decode(errors='replace')}")


def masked(first: int, payload: bytes) -> bytes:
    """One frame as clients send it."""
    size = len(payload)
    if size >= 1 << 16:
        raise ValueError("no bench sends so much at once")
    head = bytes((first, 0x80 | size)) if size < SHORT else struct.pack("!BBH", first, 0x80 | 126, size)
    mask = os.urandom(4)
    stretched = (mask * (size // 4 + 1))[:size]
    covered = int.from_bytes(payload, "little") ^ int.from_bytes(stretched, "little")
    return head + mask + covered.to_bytes(size, "little")


def split(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """The whole frames of a server's bytes, each its first byte and its payload; and where they end."""
    frames, place = list[tuple[int, bytes]](), 0
    while (bounds := _payload_at(data, place)) is not None:
        start, end = bounds
        frames.append((data[place], data[start:end]))
        place = end
    return frames, place


def _payload_at(data: bytes, place: int) -> tuple[int, int] | None:
    if len(data) - place < 2:
        return None
    size, start = data[place + 1], place + 2
    if size >= SHORT:
        if size > 127:
            raise BenchFailed("a server sent a masked frame")
        start += 2 if size == SHORT else 8
        if len(data) < start:
            return None
        size = int.from_bytes(data[place + 2 : start], "big")
    end = start + size
    return (start, end) if end <= len(data) else None
