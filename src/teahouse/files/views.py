"""Files as they go over the wire."""

from __future__ import annotations

from datetime import datetime
from email.utils import formatdate

import msgspec

from teahouse.clock import to_datetime
from teahouse.files.model import MAX_LENGTH, TUS_VERSION, Upload


class FileView(msgspec.Struct, frozen=True, rename="camel"):
    """An upload or, ``complete``, a file: ``received`` of ``size`` bytes are kept; ``size`` is null until known."""

    id: str
    name: str
    type: str
    size: int | None
    received: int
    complete: bool
    sha256: str | None
    created_at: datetime
    completed_at: datetime | None
    expires_at: datetime | None
    content_url: str | None


class FilePage(msgspec.Struct, frozen=True, rename="camel"):
    """Newest first; ``next_cursor`` gets the page after."""

    items: list[FileView]
    next_cursor: str | None


def file_view(upload: Upload) -> FileView:
    """For its owner."""
    return FileView(
        id=upload.id,
        name=upload.name,
        type=upload.media_type,
        size=upload.length,
        received=upload.received,
        complete=upload.is_complete,
        sha256=upload.sha256,
        created_at=to_datetime(upload.created_at),
        completed_at=None if upload.completed_at is None else to_datetime(upload.completed_at),
        expires_at=None if upload.expires_at is None else to_datetime(upload.expires_at),
        content_url=f"{address(upload)}/content" if upload.is_complete else None,
    )


def address(upload: Upload) -> str:
    """Its path."""
    return f"/v1/files/{upload.id}"


def tus_fields(upload: Upload) -> dict[str, str]:
    """Header fields of an answer to tus about an upload that goes on (RFC 9110 dates)."""
    fields = {"Tus-Resumable": TUS_VERSION, "Upload-Offset": str(upload.received)}
    if upload.expires_at is not None:
        fields["Upload-Expires"] = formatdate(upload.expires_at / 1000, usegmt=True)
    return fields


def standing_fields(upload: Upload) -> dict[str, str]:
    """All that HEAD says."""
    fields = tus_fields(upload) | {"Cache-Control": "no-store"}
    if upload.length is None:
        fields["Upload-Defer-Length"] = "1"
    else:
        fields["Upload-Length"] = str(upload.length)
    if upload.metadata:
        fields["Upload-Metadata"] = upload.metadata
    if upload.kind == "partial":
        fields["Upload-Concat"] = "partial"
    elif upload.kind == "final":
        fields["Upload-Concat"] = "final;" + " ".join(f"/v1/files/{each}" for each in upload.parts)
    return fields


def abilities(max_bytes: int) -> dict[str, str]:
    """What OPTIONS says."""
    return {
        "Tus-Resumable": TUS_VERSION,
        "Tus-Version": TUS_VERSION,
        "Tus-Max-Size": str(min(max_bytes, MAX_LENGTH)),
        "Tus-Extension": "creation,creation-with-upload,creation-defer-length,checksum,expiration,termination,"
        "concatenation",
        "Tus-Checksum-Algorithm": "md5,sha1,sha256",
    }
