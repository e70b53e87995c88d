"""Frames of RFC 6455 as a server reads and writes them: bytes and rules, no connection."""

from __future__ import annotations

import struct
from typing import NamedTuple

from teahouse.messages.close_codes import INVALID_TEXT, NORMAL, PROTOCOL_ERROR

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA

_FIN = 0x80
_RESERVED = 0x70
_MASKED = 0x80
# RFC 6455 §5.5: a control frame carries 125 bytes, of a close two are the code.
_MAX_CONTROL = 125
_MAX_REASON = 123
# RFC 6455 §7.4.2 and IANA's registry of close codes: what may stand in a close frame, beside 3000 to 4999.
_CLOSE_CODES = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))
_KNOWN = frozenset((TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG))


def frame(opcode: int, payload: bytes) -> bytes:
    """One unmasked frame (RFC 6455 §5.2)."""
    size = len(payload)
    if size < 126:
        return b"%c%c%b" % (_FIN | opcode, size, payload)
    if size < 65536:
        return struct.pack("!BBH", _FIN | opcode, 126, size) + payload
    return struct.pack("!BBQ", _FIN | opcode, 127, size) + payload


def unmask(mask: bytes, payload: bytes) -> bytes:
    """The payload as it was before it was masked (RFC 6455 §5.3)."""
    size = len(payload)
    stretched = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(stretched, "little")).to_bytes(size, "little")


class Header(NamedTuple):
    """A frame's header: where its payload begins and ends, counted from the header's first byte."""

    opcode: int
    fin: bool
    start: int
    end: int


class Broken(Exception):
    """What is not a frame that may be sent here: the code and the reason of the close it gets."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def read_header(data: bytes | bytearray, place: int) -> Header | int:
    """The header at that place, or how many bytes it needs at least. Raises ``Broken``, as early as can be."""
    size = len(data) - place
    if size < 2:
        return 2
    first, second = data[place], data[place + 1]
    opcode, fin, length = first & 0x0F, first >= _FIN, second & 0x7F
    _check(opcode, fin=fin, first=first, second=second)
    start = 6
    if length >= 126:
        wide = 2 if length == 126 else 8
        start += wide
        if size < 2 + wide:
            return 2 + wide
        length = int.from_bytes(data[place + 2 : place + 2 + wide], "big")
        # RFC 6455 §5.2: in as few bytes as it takes, and never with the highest bit.
        if length < (126 if wide == 2 else 65536) or length >> 63:
            raise Broken(PROTOCOL_ERROR, "wrong length")
    if size < start:
        return start
    return Header(opcode, fin, start, start + length)


def _check(opcode: int, *, fin: bool, first: int, second: int) -> None:
    if first & _RESERVED:
        raise Broken(PROTOCOL_ERROR, "reserved bits are set")
    if opcode not in _KNOWN:
        raise Broken(PROTOCOL_ERROR, "unknown opcode")
    if not second & _MASKED:
        raise Broken(PROTOCOL_ERROR, "not masked")
    if opcode >= CLOSE and (not fin or second & 0x7F > _MAX_CONTROL):
        raise Broken(PROTOCOL_ERROR, "control frames are whole and short")


def code_to_answer(payload: bytes) -> int:
    """The code that a close with this payload is answered with (RFC 6455 §7.4, §8.1)."""
    if not payload:
        return NORMAL
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not (code in _CLOSE_CODES or 3000 <= code <= 4999):
        return PROTOCOL_ERROR
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return INVALID_TEXT
    return code


def close_payload(code: int, reason: str) -> bytes:
    """A close's code and as much of the reason as fits."""
    return code.to_bytes(2, "big") + reason.encode()[:_MAX_REASON].decode(errors="ignore").encode()
