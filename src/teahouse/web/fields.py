"""Header fields that come more than once (RFC 9110 §5.3)."""

from __future__ import annotations

from teahouse.problems import BadRequest, RequestHeaderFieldsTooLarge

_ONCE = frozenset((b"host", b"content-type", b"content-length", b"authorization", b"idempotency-key", b"origin"))
_MAX_JOINED = 16 * 1024


def joined(name: bytes, earlier: bytes, value: bytes) -> bytes:
    """The values of a repeated field as one; raises where it may not be repeated, or not any more."""
    if name in _ONCE:
        raise BadRequest(f"The field {name.decode('latin-1')} is given twice.")
    # Without a bound, a head of tiny repeated fields would be copied once for each of them.
    if len(earlier) + len(value) > _MAX_JOINED:
        raise RequestHeaderFieldsTooLarge(f"The field {name.decode('latin-1')} is repeated too often.")
    return earlier + (b"; " if name == b"cookie" else b", ") + value
