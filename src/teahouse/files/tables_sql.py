"""The tables of files. Moments are Unix milliseconds; ``sql_schema`` sees to it that texts are compared exactly."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Index, Row, String, Table, Text

from teahouse.engines.sql import metadata
from teahouse.files.model import Upload

objects = Table(
    "file_objects",
    metadata,
    Column("id", String(32), primary_key=True, comment="never used again, so what it names may be removed late"),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("uses", BigInteger, nullable=False, comment="files with this content"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner_id", String(32), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("length", BigInteger, nullable=True, comment="in bytes, once it is known"),
    Column("received", BigInteger, nullable=False),
    Column("metadata", Text, nullable=False, comment="as it was sent"),
    Column("name", String(255), nullable=False),
    Column("media_type", String(255), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=True),
    Column("completed_at", BigInteger, nullable=True),
    Column("object_id", String(32), nullable=True),
    Column("sha256", String(64), nullable=True),
    Column("parts", Text, nullable=False, comment="ids, as JSON"),
    Index(None, "owner_id", "id"),
    Index(None, "expires_at"),
)

upload_columns = tuple(uploads.c[name] for name in Upload.__struct_fields__)


def read_upload(row: Row[Any]) -> Upload:
    """A row of ``upload_columns``."""
    fields = dict(zip(Upload.__struct_fields__, row, strict=True))
    return Upload(**fields | {"parts": tuple(msgspec.json.decode(fields["parts"]))})


def upload_row(upload: Upload) -> dict[str, object]:
    """What is stored of it."""
    fields = msgspec.structs.asdict(upload)
    return fields | {"parts": msgspec.json.encode(upload.parts).decode()}
