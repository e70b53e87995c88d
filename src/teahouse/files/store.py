"""What is known of uploads and files; their bytes are in ``storage``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from teahouse.files.model import Upload
from teahouse.problems import Problem


class Advance(NamedTuple):
    """More of an upload is kept: up to ``received`` now, where it was up to ``before``; and its length, once told."""

    upload_id: str
    before: int
    received: int
    length: int | None
    expires_at: int


class Finished(NamedTuple):
    """An upload whose bytes are all there, under its own id, with their SHA-256 in hexadecimal."""

    upload_id: str
    sha256: str
    size: int


class UploadStore(Protocol):
    """Every method is one transaction: on disk when it returns."""

    async def create(self, upload: Upload, quota: int, total: int) -> None:
        """Raises ``QuotaExceeded`` where the owner's, and ``InsufficientStorage`` where all uploads would exceed it."""
        ...

    async def get(self, upload_id: str) -> Upload | None:
        """As it is now."""
        ...

    async def advance(self, steps: Sequence[Advance]) -> list[Problem | None]:
        """Each by itself: ``UploadOffsetMismatch`` where it is not up to ``before`` any more, or is not there."""
        ...

    async def finish(self, finished: Finished, now: int) -> Upload | None:
        """It is a file now, of the object with this content if there is one, else of one with its own id. None where it
        is gone; again, it answers the same.
        """
        ...

    async def remove(self, upload_id: str) -> str | None:
        """It is gone. Returns the id of the object that nothing uses any more, or the upload's where it was unfinished;
        None where another file uses it or it was gone before.
        """
        ...

    async def expired(self, now: int, limit: int) -> list[Upload]:
        """Unfinished uploads whose time is over."""
        ...

    async def page(self, owner_id: str, before: str | None, limit: int) -> list[Upload]:
        """The owner's, newest first."""
        ...
