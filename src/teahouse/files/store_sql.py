"""Uploads and files in SQL: SQLite, MySQL, MariaDB or PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from teahouse.engines.sql import Database
from teahouse.files.model import Upload
from teahouse.files.problems import InsufficientStorage, QuotaExceeded, UploadOffsetMismatch
from teahouse.files.store import Advance, Finished
from teahouse.files.tables_sql import objects, read_upload, upload_columns, upload_row, uploads
from teahouse.problems import DatabaseUnavailable, Problem

# Two equal files that are finished at the same moment, on two nodes: the second try finds the first one's object.
_ATTEMPTS = 5
_size = func.coalesce(uploads.c.length, uploads.c.received)


class SqlUploadStore:
    """An ``UploadStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, upload: Upload, quota: int, total: int) -> None:
        """See ``UploadStore``."""

        def work(connection: Connection) -> None:
            size = upload.length or 0
            theirs = select(func.coalesce(func.sum(_size), 0)).where(uploads.c.owner_id == upload.owner_id)
            if int(connection.scalar(theirs) or 0) + size > quota:
                raise QuotaExceeded(f"Your files may have {quota} bytes together. Delete some, or send a smaller one.")
            if total and int(connection.scalar(select(func.coalesce(func.sum(_size), 0))) or 0) + size > total:
                raise InsufficientStorage
            connection.execute(insert(uploads), [upload_row(upload)])

        await self._database.write(work, upload.owner_id)

    async def get(self, upload_id: str) -> Upload | None:
        """See ``UploadStore``."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(*upload_columns).where(uploads.c.id == upload_id))).first()
        return None if row is None else read_upload(row)

    async def advance(self, steps: Sequence[Advance]) -> list[Problem | None]:
        """See ``UploadStore``."""
        return await self._database.write(lambda connection: [_advance(connection, step) for step in steps])

    async def finish(self, finished: Finished, now: int) -> Upload | None:
        """See ``UploadStore``."""
        for _ in range(_ATTEMPTS):
            try:
                return await self._database.write(lambda connection: _finish(connection, finished, now))
            except IntegrityError:
                continue
        raise DatabaseUnavailable("Other nodes were in the way of this file each time.")

    async def remove(self, upload_id: str) -> str | None:
        """See ``UploadStore``."""
        return await self._database.write(lambda connection: _remove(connection, upload_id))

    async def expired(self, now: int, limit: int) -> list[Upload]:
        """See ``UploadStore``."""
        query = select(*upload_columns).where(uploads.c.expires_at <= now).order_by(uploads.c.expires_at).limit(limit)
        async with self._database.reading() as connection:
            return [read_upload(row) for row in await connection.execute(query)]

    async def page(self, owner_id: str, before: str | None, limit: int) -> list[Upload]:
        """See ``UploadStore``."""
        query = select(*upload_columns).where(uploads.c.owner_id == owner_id).order_by(uploads.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(uploads.c.id < before)
        async with self._database.reading(owner_id) as connection:
            return [read_upload(row) for row in await connection.execute(query)]


def _advance(connection: Connection, step: Advance) -> Problem | None:
    there = (uploads.c.id == step.upload_id, uploads.c.received == step.before, uploads.c.completed_at.is_(None))
    values = {"received": step.received, "length": step.length, "expires_at": step.expires_at}
    if connection.execute(update(uploads).where(*there).values(values)).rowcount == 1:
        return None
    return UploadOffsetMismatch("Meanwhile more of it was kept, or it is gone. Ask where it stands with HEAD.")


def _finish(connection: Connection, finished: Finished, now: int) -> Upload | None:
    row = connection.execute(
        select(*upload_columns).where(uploads.c.id == finished.upload_id).with_for_update()
    ).first()
    if row is None:
        return None
    upload = read_upload(row)
    if upload.is_complete:
        return upload
    known = select(objects.c.id).where(objects.c.sha256 == finished.sha256).with_for_update()
    object_id = connection.scalar(known)
    if object_id is None:
        object_id = finished.upload_id
        new = {"id": object_id, "sha256": finished.sha256, "size": finished.size, "uses": 1}
        connection.execute(insert(objects), [new])
    else:
        connection.execute(update(objects).where(objects.c.id == object_id).values(uses=objects.c.uses + 1))
    values = {
        "received": finished.size,
        "length": finished.size,
        "completed_at": now,
        "expires_at": None,
        "object_id": object_id,
        "sha256": finished.sha256,
    }
    connection.execute(update(uploads).where(uploads.c.id == upload.id).values(values))
    return read_upload(connection.execute(select(*upload_columns).where(uploads.c.id == upload.id)).one())


def _remove(connection: Connection, upload_id: str) -> str | None:
    row = connection.execute(select(uploads.c.object_id).where(uploads.c.id == upload_id).with_for_update()).first()
    if row is None:
        return None
    connection.execute(delete(uploads).where(uploads.c.id == upload_id))
    object_id: str | None = row[0]
    if object_id is None:
        return upload_id
    connection.execute(update(objects).where(objects.c.id == object_id).values(uses=objects.c.uses - 1))
    unused = connection.execute(delete(objects).where(objects.c.id == object_id, objects.c.uses <= 0)).rowcount
    return object_id if unused else None
