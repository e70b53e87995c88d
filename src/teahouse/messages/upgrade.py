"""Whether a request may become a WebSocket (RFC 6455 §4.2): path, version, origin, and whose token it carries."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from teahouse.messages.frames import PATH
from teahouse.problems import BadRequest, Forbidden, MethodNotAllowed, NotFound

SUBPROTOCOL = b"teahouse.v1"
_BEARER = b"bearer."
_VERSION = b"13"

# RFC 6455 §1.3
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
# RFC 9112 §3, RFC 9110 §5: no folded lines, no control characters.
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_MOST_FIELDS = 100
_PAGES = ("https", "http")
# WeChat's own programs, whose origin on iOS is such as weapp://wechat-game-runtime. No page is opened by that scheme.
_PROGRAMS = ("weapp",)


class Upgrade(NamedTuple):
    """``authorization`` is as in the header of that name, or None; ``answer`` is what accepts the upgrade."""

    authorization: bytes | None
    answer: bytes

    def answered(self, request_id: bytes) -> bytes:
        """The answer, with that id."""
        return b"%bX-Request-Id: %b\r\n\r\n" % (self.answer[:-2], request_id)


def read_upgrade(head: bytes, origins: Collection[str]) -> Upgrade:
    """A request's head without its empty line, judged.

    The token is read from Authorization, or from the subprotocols ``teahouse.v1, bearer.<token>``, since browsers can
    set no header; never from the address, which ends up in logs. Raises ``NotFound``, ``MethodNotAllowed``,
    ``BadRequest`` and, for an origin that is neither this host, nor WeChat's, nor one of ``origins``, ``Forbidden``.
    """
    first, *lines = head.split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    if request is None:
        raise BadRequest("The request line is not one of HTTP/1.1.")
    method, target = request.groups()
    fields = _fields(lines)
    if target.partition(b"?")[0] != PATH.encode():
        raise NotFound(f"WebSockets are at {PATH}.")
    if method != b"GET":
        raise MethodNotAllowed(f"{PATH} takes GET.", headers={"Allow": "GET"})
    accepted = _handshake(fields)
    if not _is_welcome(_text(fields, b"origin"), _text(fields, b"host"), origins):
        raise Forbidden("Pages of this origin may not connect: it is not among those of cors.origins.")
    authorization, subprotocol = _token(fields.get(b"authorization"), fields.get(b"sec-websocket-protocol"))
    return Upgrade(authorization, _answer(accepted, subprotocol))


def target_of(head: bytes) -> tuple[str, str]:
    """The method and the path of a request's head, never its query; dashes where it cannot be read."""
    request = _REQUEST_LINE.fullmatch(head.partition(b"\r\n")[0])
    if request is None or not request[2].startswith(b"/"):
        return "-", "-"
    return request[1].decode(), request[2].partition(b"?")[0].decode()


def field_of(head: bytes, wanted: bytes) -> bytes:
    """The values of the field with that lower-case name, joined with commas; empty where there is none."""
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1 : _MOST_FIELDS + 1])
    return b",".join(value.strip() for name, _, value in lines if name.lower() == wanted)


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    """Values by lower-case name, several ones joined with commas (RFC 9110 §5.3)."""
    if len(lines) > _MOST_FIELDS:
        raise BadRequest("There are too many header fields.")
    fields: dict[bytes, bytes] = {}
    hosts = 0
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise BadRequest("A header field is not well-formed.")
        name, value = found[1].lower(), found[2].rstrip(b" \t")
        fields[name] = fields[name] + b", " + value if name in fields else value
        hosts += name == b"host"
    if hosts != 1:
        raise BadRequest("A request says once which Host it is for (RFC 9112).")
    return fields


def _handshake(fields: Mapping[bytes, bytes]) -> bytes:
    """The value that accepts the client's key. Raises ``BadRequest`` (RFC 6455 §4.2.1)."""
    if b"websocket" not in _tokens(fields, b"upgrade") or b"upgrade" not in _tokens(fields, b"connection"):
        raise BadRequest(f"{PATH} takes WebSockets only (RFC 6455).", headers={"Upgrade": "websocket"})
    if fields.get(b"sec-websocket-version") != _VERSION:
        # RFC 6455 §4.4
        raise BadRequest("The WebSocket version must be 13.", headers={"Sec-WebSocket-Version": _VERSION.decode()})
    if b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0":
        raise BadRequest("An upgrade has no body.")
    key = fields.get(b"sec-websocket-key", b"")
    try:
        if len(base64.b64decode(key, validate=True)) != _KEY_BYTES:
            raise BadRequest("Sec-WebSocket-Key must be 16 bytes in Base64.")
    except binascii.Error as error:
        raise BadRequest("Sec-WebSocket-Key must be 16 bytes in Base64.") from error
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def _answer(accepted: bytes, subprotocol: bytes | None) -> bytes:
    chosen = b"" if subprotocol is None else b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accepted, chosen)
    )


def _tokens(fields: Mapping[bytes, bytes], name: bytes) -> list[bytes]:
    return [token.strip().lower() for token in fields.get(name, b"").split(b",")]


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = fields.get(name)
    return None if value is None else value.decode("latin-1")


def _is_welcome(origin: str | None, host: str | None, origins: Collection[str]) -> bool:
    # Only browsers send it, and they cannot be made to lie about it.
    if origin is None or origin in origins or "*" in origins:
        return True
    if host is None:
        return False
    try:
        page = urlsplit(origin)
        here = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    # Whatever the port and the scheme: this host's pages come from its HTTP port, or from a proxy that ends TLS.
    same = page.scheme in _PAGES and page.hostname is not None and page.hostname == here
    return same or (page.scheme in _PROGRAMS and bool(page.netloc))


def _token(authorization: bytes | None, subprotocols: bytes | None) -> tuple[bytes | None, bytes | None]:
    """What stands for the Authorization header, and the subprotocol that was chosen."""
    offered = [] if subprotocols is None else [each.strip() for each in subprotocols.split(b",")]
    chosen = SUBPROTOCOL if SUBPROTOCOL in offered else None
    if authorization is not None:
        return authorization, chosen
    tokens = [each.removeprefix(_BEARER) for each in offered if each.startswith(_BEARER)]
    # Without a chosen subprotocol a browser would drop the connection, and the token must never be sent back.
    if chosen is None or len(tokens) != 1:
        return None, chosen
    return b"Bearer " + tokens[0], chosen
