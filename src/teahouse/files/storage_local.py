"""Bytes in a folder of this machine, or of one that several nodes share.

What is to be written at one moment is written by one thread in one turn, and made to last in the same turn.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import NamedTuple

from teahouse.batching import Batcher
from teahouse.files.model import Hasher
from teahouse.files.problems import InsufficientStorage
from teahouse.problems import NotFound
from teahouse.web.sending import FileSpan, Piece

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_BYTES = 1024 * 1024
_MOST_DIGESTS = 10_000
_IOV_MAX = 1024


class _Write(NamedTuple):
    object_id: str
    offset: int
    chunks: Sequence[bytes]


class _Keep(NamedTuple):
    object_id: str


class _Digest(NamedTuple):
    size: int
    hasher: Hasher


class LocalStorage:
    """A ``Storage``. Without ``durable`` nothing waits for the disk, and a power cut may take what was acknowledged."""

    def __init__(self, folder: Path, *, durable: bool = True, max_waiting: int = 10_000) -> None:
        self._folder = folder
        self._durable = durable
        self.batcher: Batcher[_Write | _Keep, None] = Batcher(
            self._flush, name="files", max_waiting=max_waiting, max_flushes=2
        )
        # Of uploads that arrive in order here, so that finishing them need not read them again.
        self._digests: OrderedDict[str, _Digest] = OrderedDict()

    async def start(self) -> None:
        """See ``Storage``."""
        await asyncio.to_thread(self._prepare)

    async def aclose(self) -> None:
        """See ``Storage``."""
        await self.batcher.aclose()

    async def append(self, object_id: str, offset: int, chunks: Sequence[bytes]) -> None:
        """See ``Storage``."""
        await self.batcher.submit(_Write(object_id, offset, chunks))

    async def keep(self, object_id: str, size: int) -> None:  # noqa: ARG002  # what was written is there
        """See ``Storage``."""
        if self._durable:
            await self.batcher.submit(_Keep(object_id))

    async def join(self, object_id: str, parts: Sequence[tuple[str, int]]) -> None:
        """See ``Storage``."""
        await asyncio.to_thread(self._join, object_id, parts)

    async def digest(self, object_id: str, size: int) -> str:
        """See ``Storage``."""
        known = self._digests.pop(object_id, None)
        if known is not None and known.size == size:
            return known.hasher.digest().hex()
        return await asyncio.to_thread(self._digest, object_id, size)

    async def pieces(self, object_id: str, spans: Sequence[tuple[bytes, int, int]]) -> AsyncGenerator[Piece, None]:
        """See ``Storage``."""
        try:
            descriptor = os.open(self._path(object_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound("The file's content is gone.") from error
        try:
            for before, offset, length in spans:
                if before:
                    yield before
                if length:
                    yield FileSpan(descriptor, offset, length)
        finally:
            os.close(descriptor)

    async def remove(self, object_id: str) -> None:
        """See ``Storage``."""
        self._digests.pop(object_id, None)
        await asyncio.to_thread(self._path(object_id).unlink, missing_ok=True)

    # --- in a thread --------------------------------------------------------------------------------------------------

    async def _flush(self, calls: list[_Write | _Keep]) -> list[BaseException | None]:
        return await asyncio.to_thread(self._work, calls)

    def _work(self, calls: list[_Write | _Keep]) -> list[BaseException | None]:
        return [self._do(call) for call in calls]

    def _do(self, call: _Write | _Keep) -> BaseException | None:
        try:
            if isinstance(call, _Write):
                self._write(call)
            else:
                self._sync(call.object_id)
        except OSError as error:
            self._digests.pop(call.object_id, None)
            if error.errno not in _FULL:
                return error
            full = InsufficientStorage()
            full.__cause__ = error
            return full
        return None

    def _write(self, call: _Write) -> None:
        path = self._path(call.object_id)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            descriptor = self._create(path)
        try:
            _write_all(descriptor, call.offset, call.chunks)
        finally:
            os.close(descriptor)
        self._note(call)

    def _create(self, path: Path) -> int:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._durable:
            _sync_folder(path.parent)
        return descriptor

    def _note(self, call: _Write) -> None:
        known = self._digests.pop(call.object_id, None)
        if known is None:
            if call.offset:
                return
            known = _Digest(0, hashlib.sha256())
        elif known.size != call.offset:
            return
        for chunk in call.chunks:
            known.hasher.update(chunk)
        self._digests[call.object_id] = _Digest(call.offset + sum(map(len, call.chunks)), known.hasher)
        while len(self._digests) > _MOST_DIGESTS:
            self._digests.popitem(last=False)

    def _sync(self, object_id: str) -> None:
        try:
            descriptor = os.open(self._path(object_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # Nothing was ever written: an empty file.
            os.close(self._create(self._path(object_id)))
            return
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _join(self, object_id: str, parts: Sequence[tuple[str, int]]) -> None:
        path = self._path(object_id)
        try:
            target = self._create(path)
            try:
                for part, size in parts:
                    _copy(self._path(part), target, size)
                if self._durable:
                    os.fdatasync(target)
            finally:
                os.close(target)
        except OSError as error:
            path.unlink(missing_ok=True)
            if error.errno in _FULL:
                raise InsufficientStorage from error
            raise

    def _digest(self, object_id: str, size: int) -> str:
        digest, left = hashlib.sha256(), size
        if not size:
            return digest.hexdigest()
        with self._path(object_id).open("rb") as file:
            while left and (data := file.read(min(left, _READ_BYTES))):
                digest.update(data)
                left -= len(data)
        if left:
            raise OSError(errno.EIO, f"object {object_id} is shorter than what was kept of it")
        return digest.hexdigest()

    def _path(self, object_id: str) -> Path:
        # Ids begin with the time and end at random.
        return self._folder / object_id[-2:] / object_id

    def _prepare(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _write_all(descriptor: int, offset: int, chunks: Sequence[bytes]) -> None:
    waiting = [memoryview(chunk) for chunk in chunks]
    while waiting:
        written = os.pwritev(descriptor, waiting[:_IOV_MAX], offset)
        offset += written
        while waiting and written >= len(waiting[0]):
            written -= len(waiting.pop(0))
        if written:
            waiting[0] = waiting[0][written:]


def _copy(source: Path, target: int, size: int) -> None:
    if not size:
        return
    descriptor, left = os.open(source, os.O_RDONLY | os.O_CLOEXEC), size
    try:
        while left:
            copied = os.copy_file_range(descriptor, target, left)
            if not copied:
                raise OSError(errno.EIO, f"{source.name} is shorter than what was kept of it")
            left -= copied
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
