"""Receipts: what buyers were told, on this node's own disk, until the archive has it.

Where Redis loses its last moments, or everything, these say by id which orders were promised and are gone. They are
written a moment after the answer and not forced to disk: they are for a Redis that is lost, not for a node that is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from teahouse.clock import Clock
from teahouse.problems import Problem
from teahouse.sales.archive import SEQ_LEAP, Archive, OrderRow

FOLDER = "receipts"
SEGMENT_BYTES = 8 << 20
SEGMENT_SECONDS = 10.0
# With segments of 8 MB about as much as a million orders take.
MOST_SEGMENTS = 64
# A file that nobody has written to for so long belongs to a worker that has ended.
_ABANDONED_SECONDS = 120.0
_GATHER_SECONDS = 0.1
_TIDY_SECONDS = 5.0
_AT_ONCE = 500
# A leap begins where Redis had come to after its loss, which is less far than what buyers were told.
_RESTORED = SEQ_LEAP // 2
LOST = "lost-"
TOLD = "told-"

_log = logging.getLogger(__name__)
_read_row = msgspec.json.Decoder(OrderRow).decode


class Segment:
    """One file of receipts: the rows of orders, one a line; and the last change of each sale that is in it."""

    def __init__(self, path: Path, now: float) -> None:
        self.path = path
        self.begun_at = now
        self.size = 0
        self.seqs: dict[str, int] = {}

    def was_before_a_repair(self, sale_id: str, seq: int) -> bool:
        """Whether the sale has been restored since: what it sold then says nothing of what it had sold before."""
        return seq - self.seqs.get(sale_id, seq) > _RESTORED


class Receipts:
    """Of one worker, in a folder that the node's workers share."""

    def __init__(self, data_dir: Path, archive: Archive, *, worker: str, clock: Clock) -> None:
        self.folder = data_dir / FOLDER
        self.lost = 0
        self._archive = archive
        self._worker = worker
        self._clock = clock
        self._number = 0
        self._pending: list[str] = []
        self._segments: list[Segment] = []
        self._file: BinaryIO | None = None
        self._ending = asyncio.Event()
        self.writing: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to let go of what the archive has."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._tidying = asyncio.get_running_loop().create_task(self._tidy_again(), name="receipts")

    async def aclose(self) -> None:
        """Writes out what is left."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
        self._ending.set()
        if self.writing is not None:
            await self.writing
        if self._file is not None:
            self._file.close()
            self._file = None

    def note(self, sale_id: str, seq: int, rows: Sequence[str]) -> None:
        """These orders were made by the sale's ``seq``-th change, and their buyers are told."""
        now = self._clock.monotonic()
        segment = self._segments[-1] if self._segments else None
        full = segment is None or segment.size > SEGMENT_BYTES or now - segment.begun_at > SEGMENT_SECONDS
        if segment is None or full or segment.was_before_a_repair(sale_id, seq):
            segment = self._begin(now)
        text = "\n".join(rows) + "\n"
        segment.size += len(text)
        segment.seqs[sale_id] = max(seq, segment.seqs.get(sale_id, 0))
        self._pending.append(text)
        if self.writing is None:
            self.writing = asyncio.get_running_loop().create_task(self._write(), name="write receipts")

    def _begin(self, now: float) -> Segment:
        self._number += 1
        segment = Segment(self.folder / f"{self._worker}-{self._number:06}.jsonl", now)
        self._segments.append(segment)
        # The rows before it are still to be written, in order, so the mark travels with them.
        self._pending.append(f"\0{segment.path}")
        return segment

    async def _write(self) -> None:
        try:
            while self._pending:
                # Nobody waits for a receipt, and a visit to a thread costs more than many of them.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), _GATHER_SECONDS)
                pieces, self._pending = self._pending, []
                await asyncio.to_thread(self._write_out, pieces)
        except OSError as error:
            self._pending.clear()
            _log.warning("receipts cannot be written: %s", error)
        finally:
            self.writing = None

    def _write_out(self, pieces: Iterable[str]) -> None:
        for piece in pieces:
            if piece[0] == "\0":
                if self._file is not None:
                    self._file.close()
                descriptor = os.open(piece[1:], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                self._file = os.fdopen(descriptor, "wb", buffering=0)
            elif self._file is not None:
                self._file.write(piece.encode())

    # --- letting go ---

    async def _tidy_again(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            try:
                await self.tidy()
            except Problem as problem:
                _log.info("receipts are kept for now: %s", problem.detail)
            except OSError as error:
                _log.warning("receipts cannot be let go: %s", error)

    async def tidy(self) -> None:
        """Deletes what the archive has, segment by segment."""
        now = self._clock.monotonic()
        closed = [each for each in self._segments if now - each.begun_at > SEGMENT_SECONDS]
        for segment in closed:
            known = await self._archive.sales(list(segment.seqs))
            ahead = [known[sale_id].seq - seq if sale_id in known else -1 for sale_id, seq in segment.seqs.items()]
            if min(ahead) < 0:
                continue
            if max(ahead) < _RESTORED:
                # Counters that have come so far step by step had all orders with them.
                segment.path.unlink(missing_ok=True)
            else:
                await self._settle(segment.path)
            self._segments.remove(segment)
        while len(self._segments) > MOST_SEGMENTS:
            gone = self._segments.pop(0)
            _log.error("too many receipts wait for the archive: %s is dropped", gone.path.name)
            gone.path.unlink(missing_ok=True)
        for path in await asyncio.to_thread(_abandoned, self.folder, self._worker):
            await self._settle(path)

    async def _settle(self, path: Path) -> None:
        missing = await missing_of(self._archive, [path])
        self.lost += len(missing)
        for row in missing:
            _log.error("order %s of buyer %s was promised and is lost", row.id, row.buyer_id)
        await asyncio.to_thread(_put_away, path, missing)


def _abandoned(folder: Path, worker: str) -> list[Path]:
    newest = max((path.stat().st_mtime for path in folder.glob("*.jsonl")), default=0.0)
    return [
        path
        for path in folder.glob("*.jsonl")
        if not path.name.startswith((worker, LOST, TOLD)) and newest - path.stat().st_mtime > _ABANDONED_SECONDS
    ]


async def missing_of(archive: Archive, paths: Iterable[Path]) -> list[OrderRow]:
    """The promised orders in these files that the archive does not have."""
    missing: list[OrderRow] = []
    for path in paths:
        rows = await asyncio.to_thread(_read, path)
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            known = await archive.orders([row.id for row in some])
            missing += [row for row in some if row.id not in known]
    return missing


def _read(path: Path) -> list[OrderRow]:
    rows = []
    with path.open("rb") as file:
        for line in file:
            try:
                rows.append(_read_row(line))
            except msgspec.DecodeError:
                # The last line of a worker that was killed while it wrote.
                _log.info("%s: a line that is not whole is passed over", path.name)
    return rows


def _put_away(path: Path, missing: Sequence[OrderRow]) -> None:
    # What is lost is kept for a person to look at; the receipts themselves go.
    if missing:
        _write_rows(path.with_name(f"{LOST}{path.name}"), missing)
    path.unlink(missing_ok=True)


def _write_rows(path: Path, rows: Sequence[OrderRow]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def receipts_in(data_dir: Path) -> list[Path]:
    """The files of receipts on this node, but for what is known to be lost."""
    return sorted(path for path in (data_dir / FOLDER).glob("*.jsonl") if not path.name.startswith((LOST, TOLD)))


def read_lost(data_dir: Path) -> list[OrderRow]:
    """The orders that this node's workers found lost, and nobody was told of yet."""
    return [row for path in sorted((data_dir / FOLDER).glob(f"{LOST}*.jsonl")) for row in _read(path)]


def keep_told(data_dir: Path, told: Sequence[OrderRow]) -> None:
    """An operator has been told of these: they are kept, and not told again."""
    if told:
        _write_rows(data_dir / FOLDER / f"{TOLD}{told[0].id}.jsonl", told)
    for path in (data_dir / FOLDER).glob(f"{LOST}*.jsonl"):
        path.unlink()
