"""Answers that are sent piece by piece: bytes as they come, and parts of files without a copy through this process."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple, TypeAlias

from teahouse.web.response import Response
from teahouse.web.streaming import ClientGone

# Sent in one turn of the loop: others wait some 100 µs for it.
_TURN_BYTES = 1024 * 1024
_COPY_BYTES = 256 * 1024


class FileSpan(NamedTuple):
    """A part of an open file: its descriptor, and where the part begins and how long it is, in bytes."""

    descriptor: int
    offset: int
    length: int


Piece: TypeAlias = bytes | FileSpan


class StreamedResponse:
    """An answer whose body is ``length`` bytes, given by ``pieces`` one after the other.

    The generator is closed in any case, so what it holds open is let go of in its ``finally``. A body that turns out
    shorter or fails cuts the connection, since the head has gone out by then.
    """

    __slots__ = ("head", "length", "pieces")

    def __init__(
        self,
        status: int,
        length: int,
        pieces: AsyncGenerator[Piece, None],
        *,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.head = Response(status, content_type=content_type, headers=headers)
        self.length = length
        self.pieces = pieces


class Sending:
    """One such answer on its way over one connection."""

    __slots__ = ("_lost", "_paused", "_transport", "_waiter", "sent")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiter: asyncio.Future[None] | None = None
        self._paused = self._lost = False
        self.sent = 0

    async def send(self, head: bytes, answer: StreamedResponse) -> None:
        """Raises ``ClientGone`` where the connection ends first, ``ValueError`` where the body is too short or long."""
        # Whatever a file's bytes must not overtake is told to be on its way as soon as it is.
        self._transport.set_write_buffer_limits(0)
        try:
            self._transport.write(head)
            async for piece in answer.pieces:
                size = len(piece) if isinstance(piece, bytes) else piece.length
                if self.sent + size > answer.length:
                    raise ValueError("the body is longer than its length")
                await self._flushed()
                if isinstance(piece, bytes):
                    self._transport.write(piece)
                    self.sent += size
                else:
                    await self._send_file(piece)
            await self._flushed()
        finally:
            if not self._lost:
                self._transport.set_write_buffer_limits()
            await answer.pieces.aclose()
        if self.sent != answer.length:
            raise ValueError("the body is shorter than its length")

    # --- called by the connection -------------------------------------------------------------------------------------

    def pause(self) -> None:
        """The transport holds what it has not sent."""
        self._paused = True

    def resume(self) -> None:
        """The transport has sent it."""
        self._paused = False
        self._wake()

    def lose(self) -> None:
        """The connection has ended."""
        self._lost = True
        self._wake()

    # ------------------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _flushed(self) -> None:
        while self._paused and not self._lost:
            await self._wait()
        if self._lost:
            raise ClientGone

    async def _send_file(self, span: FileSpan) -> None:
        sock = self._transport.get_extra_info("socket")
        if sock is None:
            await self._copy_file(span)
            return
        # The loop watches the transport's own descriptor already.
        watched = os.dup(sock.fileno())
        try:
            await self._from_kernel(sock.fileno(), watched, span)
        finally:
            os.close(watched)

    async def _from_kernel(self, target: int, watched: int, span: FileSpan) -> None:
        offset, end, turn = span.offset, span.offset + span.length, 0
        while offset < end:
            count = min(end - offset, _TURN_BYTES)
            if not _is_in_memory(span.descriptor, offset + count - 1):
                await asyncio.to_thread(_load, span.descriptor, offset, count)
            try:
                sent = os.sendfile(target, span.descriptor, offset, count)
            except BlockingIOError:
                turn = 0
                await self._writable(watched)
                continue
            except OSError as error:
                raise ClientGone from error
            if sent == 0:
                raise ValueError("the file is shorter than it was")
            offset += sent
            self.sent += sent
            turn += sent
            if turn >= _TURN_BYTES:
                turn = 0
                await asyncio.sleep(0)
            if self._lost:
                raise ClientGone

    async def _writable(self, watched: int) -> None:
        loop = asyncio.get_running_loop()
        loop.add_writer(watched, self._wake)
        try:
            await self._wait()
        finally:
            loop.remove_writer(watched)
        if self._lost:
            raise ClientGone

    async def _copy_file(self, span: FileSpan) -> None:
        offset, end = span.offset, span.offset + span.length
        while offset < end:
            data = await asyncio.to_thread(os.pread, span.descriptor, min(end - offset, _COPY_BYTES), offset)
            if not data:
                raise ValueError("the file is shorter than it was")
            await self._flushed()
            self._transport.write(data)
            offset += len(data)
            self.sent += len(data)


def _is_in_memory(descriptor: int, offset: int) -> bool:
    """Whether reading there waits for no disk, as far as the file system can tell."""
    try:
        os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
            return True
        raise
    return True


def _load(descriptor: int, offset: int, count: int) -> None:
    """Waits for the disk, in a thread."""
    end = offset + count
    while offset < end:
        read = len(os.pread(descriptor, min(end - offset, _COPY_BYTES), offset))
        if not read:
            return
        offset += read
