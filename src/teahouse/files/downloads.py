"""From a file and the headers of a request to the answer with its bytes."""

from __future__ import annotations

import secrets

from teahouse.files.model import Upload
from teahouse.files.problems import PreconditionFailed, RangeNotSatisfiable
from teahouse.files.ranges import Span, content_range, disposition, names_tag, part_heads, spans, still_holds
from teahouse.files.storage import Storage
from teahouse.problems import NotFound
from teahouse.web import Request, Response, StreamedResponse

# The content of an id never changes.
_CACHE = "private, max-age=31536000, immutable"


def download(storage: Storage, file: Upload, request: Request) -> Response | StreamedResponse:
    """200 with all of it, 206 with what was asked for, or 304 where the client has it."""
    if file.object_id is None or file.sha256 is None:
        raise NotFound("The file is not complete yet.")
    tag, size = f'"{file.sha256}"', file.received
    if_match = request.header("if-match")
    if if_match is not None and not names_tag(if_match, tag):
        raise PreconditionFailed
    fields = {"ETag": tag, "Cache-Control": _CACHE, "Accept-Ranges": "bytes"}
    if names_tag(request.header("if-none-match"), tag):
        return Response(304, headers=fields)
    fields |= {
        "Content-Disposition": disposition(file.name, file.media_type),
        # Whatever a browser makes of it, it is nobody's page.
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    found = spans(request.header("range"), size) if still_holds(request.header("if-range"), tag) else None
    if request.method != "GET" or found is None:
        return _whole(storage, file, fields)
    if not found:
        raise RangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return _part(storage, file, found[0], fields) if len(found) == 1 else _parts(storage, file, found, fields)


def _whole(storage: Storage, file: Upload, fields: dict[str, str]) -> StreamedResponse:
    pieces = storage.pieces(file.object_id or file.id, [(b"", 0, file.received)])
    return StreamedResponse(200, file.received, pieces, content_type=file.media_type, headers=fields)


def _part(storage: Storage, file: Upload, span: Span, fields: dict[str, str]) -> StreamedResponse:
    pieces = storage.pieces(file.object_id or file.id, [(b"", span.first, span.length)])
    fields = fields | {"Content-Range": content_range(span, file.received)}
    return StreamedResponse(206, span.length, pieces, content_type=file.media_type, headers=fields)


def _parts(storage: Storage, file: Upload, found: list[Span], fields: dict[str, str]) -> StreamedResponse:
    boundary = secrets.token_hex(16)
    *heads, end = part_heads(found, file.received, file.media_type, boundary)
    wanted = [(head, span.first, span.length) for head, span in zip(heads, found, strict=True)]
    pieces = storage.pieces(file.object_id or file.id, [*wanted, (end, 0, 0)])
    length = sum(len(head) + span.length for head, span in zip(heads, found, strict=True)) + len(end)
    return StreamedResponse(
        206, length, pieces, content_type=f"multipart/byteranges; boundary={boundary}", headers=fields
    )
