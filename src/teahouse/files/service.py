"""Uploads from their first byte to a file, and back to nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from teahouse.batching import Batcher
from teahouse.clock import Clock
from teahouse.files.holders import Holders
from teahouse.files.model import ANY_TYPE, Checksum, Described, Kind, Upload
from teahouse.files.problems import ChecksumMismatch, UploadComplete, UploadExpired, UploadLocked, UploadOffsetMismatch
from teahouse.files.storage import Storage
from teahouse.files.store import Advance, Finished, UploadStore
from teahouse.problems import BadRequest, ContentTooLarge, NotFound, Problem

_log = logging.getLogger(__name__)

# What of a body goes to the storage at once, and what of a long one may be lost with this process.
_PIECE_BYTES = 256 * 1024
_SAVE_BYTES = 32 * 1024 * 1024
_SWEPT_AT_ONCE = 100
_SWEEP_SECONDS = 60.0


class UploadLimits(msgspec.Struct, frozen=True):
    """``max_bytes`` a file, ``quota_bytes`` an owner, ``total_bytes`` all (0: what the disk holds); an upload that
    nothing comes to for ``expire_seconds`` is removed.
    """

    max_bytes: int
    quota_bytes: int
    total_bytes: int
    expire_seconds: float


class Body(Protocol):
    """The bytes of one request while they arrive; see ``BodyStream``."""

    length: int | None

    @property
    def is_complete(self) -> bool:
        """Whether all has arrived."""
        ...

    async def read(self) -> list[bytes]:
        """More of it; empty at its end."""
        ...

    def fail(self, failure: Problem, /) -> None:
        """Ends it for its reader."""
        ...


class New(msgspec.Struct, frozen=True):
    """What an upload is to be."""

    kind: Kind = "single"
    length: int | None = None
    described: Described = Described("", "", ANY_TYPE)


class Files:
    """The use cases. Someone else's upload is one that does not exist."""

    def __init__(
        self, store: UploadStore, storage: Storage, settings: UploadLimits, *, clock: Clock, max_waiting: int = 10_000
    ) -> None:
        self._store = store
        self._storage = storage
        self.settings = settings
        self._clock = clock
        self.holders = Holders()
        self.batcher: Batcher[Advance, None] = Batcher(self._advance_all, name="uploads", max_waiting=max_waiting)
        self._sweeper: asyncio.Task[None] | None = None

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Sweeps from now on."""
        await self._storage.start()
        self._sweeper = asyncio.get_running_loop().create_task(_every(_SWEEP_SECONDS, self.sweep), name="sweep uploads")

    async def aclose(self) -> None:
        """After the last request."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        await self.batcher.aclose()
        await self._storage.aclose()

    # --- uploads ------------------------------------------------------------------------------------------------------

    async def create(self, owner_id: str, new: New) -> Upload:
        """Raises ``ContentTooLarge``, ``QuotaExceeded`` or ``InsufficientStorage``. One without a byte is a file."""
        self._check_length(new.length)
        now = self._clock.now_ms()
        upload = Upload(
            id=self._clock.new_id(),
            owner_id=owner_id,
            kind=new.kind,
            length=new.length,
            received=0,
            metadata=new.described.text,
            name=new.described.name,
            media_type=new.described.media_type,
            created_at=now,
            expires_at=self._expiry(now),
        )
        await self._store.create(upload, self.settings.quota_bytes, self.settings.total_bytes)
        return await self._finish(upload) if upload.length == 0 else upload

    async def join(self, owner_id: str, part_ids: tuple[str, ...], described: Described) -> Upload:
        """A file of the contents of finished partial uploads, in that order."""
        parts = [await self.own(owner_id, each) for each in part_ids]
        for part in parts:
            if part.kind != "partial":
                raise BadRequest(f"{part.id} is not a partial upload.")
            if not part.is_complete:
                raise BadRequest(f"{part.id} is not complete yet.")
        length = sum(part.received for part in parts)
        self._check_length(length)
        now = self._clock.now_ms()
        upload = Upload(
            self._clock.new_id(), owner_id, "final", length, 0, described.text, described.name, described.media_type,
            now, self._expiry(now), parts=part_ids,
        )  # fmt: skip
        await self._store.create(upload, self.settings.quota_bytes, self.settings.total_bytes)
        try:
            await self._storage.join(upload.id, [(part.object_id or part.id, part.received) for part in parts])
            return await self._finish(upload, size=length)
        except BaseException:
            await asyncio.shield(self._drop(upload.id))
            raise

    async def own(self, owner_id: str, upload_id: str) -> Upload:
        """The owner's upload or file. Raises ``NotFound``, ``UploadExpired``."""
        upload = await self._store.get(upload_id)
        if upload is None or upload.owner_id != owner_id:
            raise NotFound("There is no such file.")
        if upload.expires_at is not None and upload.expires_at <= self._clock.now_ms():
            raise UploadExpired
        return upload

    async def stand(self, owner_id: str, upload_id: str) -> Upload:
        """How far an upload has come. Who is still writing it stops before."""
        upload = await self.own(owner_id, upload_id)
        if upload.is_complete:
            return upload
        await self.holders.free(upload_id)
        upload = await self.own(owner_id, upload_id)
        # A process may have ended between its last byte and its end.
        return await self._finish(upload) if upload.received == upload.length and not upload.is_complete else upload

    async def remove(self, owner_id: str, upload_id: str) -> None:
        """The upload or file is gone; who is writing it stops before."""
        await self.own(owner_id, upload_id)
        await self.holders.free(upload_id)
        async with self.holders.holding(upload_id, lambda: None):
            await self._drop(upload_id)

    async def page(self, owner_id: str, before: str | None, limit: int) -> list[Upload]:
        """The owner's uploads and files, newest first."""
        return await self._store.page(owner_id, before, limit)

    async def receive(
        self, owner_id: str, upload_id: str, offset: int, body: Body, *, length: int | None = None,
        checksum: Checksum | None = None,
    ) -> Upload:  # fmt: skip
        """Adds a body at ``offset``. What came before a connection was lost is kept, unless it has a checksum.

        ``length`` tells that of an upload which did not say before.
        """
        async with self.holders.holding(upload_id, lambda: body.fail(UploadLocked("Another request asked for it."))):
            upload = self._told(await self.own(owner_id, upload_id), offset, length)
            if body.length is not None:
                self._check_room(upload, offset + body.length)
            return await _Receiving(self, upload, body, checksum).run()

    # --- for a body on its way ----------------------------------------------------------------------------------------

    async def write(self, upload: Upload, offset: int, chunks: list[bytes]) -> None:
        """A piece of it."""
        await self._storage.append(upload.id, offset, chunks)

    async def save(self, upload: Upload, received: int) -> Upload:
        """What has come up to there is kept for good."""
        await self._storage.keep(upload.id, received)
        expires_at = self._expiry(self._clock.now_ms())
        await self.batcher.submit(Advance(upload.id, upload.received, received, upload.length, expires_at))
        upload = msgspec.structs.replace(upload, received=received, expires_at=expires_at)
        return await self._finish(upload) if received == upload.length else upload

    def check_room(self, upload: Upload, end: int) -> None:
        """Raises ``ContentTooLarge`` where the upload may not become so long."""
        self._check_room(upload, end)

    # ------------------------------------------------------------------------------------------------------------------

    def _told(self, upload: Upload, offset: int, length: int | None) -> Upload:
        if upload.is_complete or upload.kind == "final":
            raise UploadComplete
        if offset != upload.received:
            raise UploadOffsetMismatch(f"The upload stands at {upload.received}.")
        if length is None:
            return upload
        if upload.length is not None and upload.length != length:
            raise BadRequest(f"The upload's length is {upload.length}, and cannot become {length}.")
        if length < upload.received:
            raise BadRequest(f"{upload.received} bytes have come already: more than {length}.")
        self._check_length(length)
        return msgspec.structs.replace(upload, length=length)

    def _check_length(self, length: int | None) -> None:
        if length is not None and length > self.settings.max_bytes:
            raise ContentTooLarge(f"A file has at most {self.settings.max_bytes} bytes.")

    def _check_room(self, upload: Upload, end: int) -> None:
        if upload.length is not None and end > upload.length:
            raise ContentTooLarge(f"That is more than the {upload.length} bytes that the upload was to have.")
        self._check_length(end)

    def _expiry(self, now: int) -> int:
        return now + int(self.settings.expire_seconds * 1000)

    async def _finish(self, upload: Upload, *, size: int | None = None) -> Upload:
        size = upload.received if size is None else size
        if not size:
            await self._storage.keep(upload.id, 0)
        sha256 = await self._storage.digest(upload.id, size)
        finished = await self._store.finish(Finished(upload.id, sha256, size), self._clock.now_ms())
        if finished is None:
            await self._storage.remove(upload.id)
            raise NotFound("The file was deleted meanwhile.")
        if finished.object_id != upload.id:
            await self._storage.remove(upload.id)
        return finished

    async def _drop(self, upload_id: str) -> None:
        unused = await self._store.remove(upload_id)
        if unused is not None:
            await self._storage.remove(unused)

    async def _advance_all(self, steps: list[Advance]) -> list[BaseException | None]:
        return list(await self._store.advance(steps))

    async def sweep(self) -> int:
        """Removes unfinished uploads whose time is over; returns how many."""
        removed = 0
        for upload in await self._store.expired(self._clock.now_ms(), _SWEPT_AT_ONCE):
            if upload.id not in self.holders:
                await self._drop(upload.id)
                removed += 1
        return removed


class _Receiving:
    """One body on its way into an upload."""

    def __init__(self, files: Files, upload: Upload, body: Body, checksum: Checksum | None) -> None:
        self._files = files
        self._upload = upload
        self._body = body
        self._checksum = checksum
        self._hasher = checksum.hasher() if checksum is not None else None
        self._end = upload.received

    async def run(self) -> Upload:
        try:
            while piece := await self._piece():
                await self._take(piece)
        except Exception:
            # What has come is worth keeping: the client goes on from there.
            if self._checksum is None:
                await self._save()
            raise
        if self._checksum is not None and self._hasher is not None and self._hasher.digest() != self._checksum.digest:
            raise ChecksumMismatch
        return await self._save(told=True)

    async def _piece(self) -> list[bytes]:
        piece = await self._body.read()
        size = sum(map(len, piece))
        while piece and size < _PIECE_BYTES and not self._body.is_complete:
            try:
                more = await self._body.read()
            except Exception:
                await self._take(piece)
                raise
            size += sum(map(len, more))
            piece += more
        return piece

    async def _take(self, piece: list[bytes]) -> None:
        self._files.check_room(self._upload, self._end + sum(map(len, piece)))
        if self._hasher is not None:
            for chunk in piece:
                self._hasher.update(chunk)
        await self._files.write(self._upload, self._end, piece)
        self._end += sum(map(len, piece))
        if self._checksum is None and self._end - self._upload.received >= _SAVE_BYTES:
            await self._save()

    async def _save(self, *, told: bool = False) -> Upload:
        if self._end > self._upload.received or (told and self._end == self._upload.length):
            self._upload = await self._files.save(self._upload, self._end)
        return self._upload


async def _every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except (Problem, OSError) as error:
            _log.warning("uploads were not swept: %s", error)
