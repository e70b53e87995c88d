"""Which bytes of a file a request asks for (RFC 9110 §13 and §14), and what its answer says of them. No I/O."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote

# More than that in one request is nobody who reads a file.
_MOST_RANGES = 16
_RANGE = re.compile(r"([0-9]{0,19})-([0-9]{0,19})")
_TAG = re.compile(r'(?:W/)?("[!#-~\x80-\xff]*")')
# What a browser shows without running anything of it.
_SHOWN = re.compile(r"(?:image/(?:png|jpeg|gif|webp|avif)|audio/.+|video/.+)")


class Span(NamedTuple):
    """Bytes from ``first`` to ``last``, both with them."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """In bytes."""
        return self.last - self.first + 1


def spans(text: str | None, size: int) -> list[Span] | None:
    """What a Range header asks for; None where it asks for nothing in particular, or for more than the whole.

    Empty where no byte that it asks for is there.
    """
    unit, _, wanted = (text or "").partition("=")
    if unit.strip().lower() != "bytes":
        return None
    parts = [part.strip() for part in wanted.split(",") if part.strip()]
    matches = [_RANGE.fullmatch(part) for part in parts]
    if not matches or len(matches) > _MOST_RANGES:
        return None
    found = []
    for match in matches:
        if match is None or match[0] == "-" or (match[1] and match[2] and int(match[2]) < int(match[1])):
            return None
        span = _span(match[1], match[2], size)
        if span is not None:
            found.append(span)
    return found if sum(span.length for span in found) <= size else None


def _span(first: str, last: str, size: int) -> Span | None:
    if not first:
        # The last so many.
        count = min(int(last), size)
        return Span(size - count, size - 1) if count else None
    start = int(first)
    return Span(start, min(int(last) if last else size - 1, size - 1)) if start < size else None


def names_tag(text: str | None, tag: str) -> bool:
    """Whether an If-None-Match or If-Match header names the entity tag, or any."""
    return text is not None and (text.strip() == "*" or tag in _TAG.findall(text))


def still_holds(if_range: str | None, tag: str) -> bool:
    """Whether an If-Range header lets the Range stand: only the very tag does, as files have no dates."""
    return if_range is None or if_range.strip() == tag


def content_range(span: Span, size: int) -> str:
    """Of one part."""
    return f"bytes {span.first}-{span.last}/{size}"


def part_heads(found: list[Span], size: int, media_type: str, boundary: str) -> list[bytes]:
    """What goes before each part of a multipart/byteranges body, and at last what ends it (RFC 9110 §14.6)."""
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {content_range(span, size)}\r\n\r\n".encode()
        for span in found
    ]
    return [*heads, f"\r\n--{boundary}--\r\n".encode()]


def disposition(name: str, media_type: str) -> str:
    """A Content-Disposition header (RFC 6266): pictures, sound and films may be shown, everything else is saved."""
    kind = "inline" if _SHOWN.fullmatch(media_type) else "attachment"
    return f"{kind}; filename*=UTF-8''{quote(name, safe='')}" if name else kind
