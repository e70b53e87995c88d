"""The metrics of a node whose workers are several: a scrape of any of them gives those of all.

Each worker listens on a Unix socket of its own in the node's data directory, for its owner only, and tells its figures
to whoever connects. Every series gets the label ``worker``. A worker that is away, or too slow, is left out.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_BACKLOG = 64
_TELLS_WITHIN_SECONDS = 1.0
_MAX_BYTES = 16 * 1024 * 1024
_PRIVATE = 0o600


class Sample(msgspec.Struct, array_like=True, frozen=True):
    """One value of a series."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, array_like=True, frozen=True):
    """A metric as one worker tells it."""

    name: str
    documentation: str
    type: str
    samples: list[Sample]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Family]).decode


class Siblings:
    """One of ``count`` workers. ``directory`` is private to the node and the same for all of them."""

    def __init__(self, registry: CollectorRegistry, directory: Path, index: int, count: int) -> None:
        self._registry = registry
        self._directory = directory
        self._index = index
        self._count = count
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Tells its figures from now on. One that had its number before is asked no more."""
        listening = _private_socket(self._directory, self._index)
        self._server = await asyncio.start_unix_server(self._tell, sock=listening)

    async def aclose(self) -> None:
        """Tells nothing any more."""
        if self._server is not None:
            self._server.close()

    async def exposition(self) -> bytes:
        """Every worker's metrics, as Prometheus reads them."""
        others = [number for number in range(self._count) if number != self._index]
        told = await asyncio.gather(*map(self._ask, others))
        families = {self._index: list(_figures(self._registry))}
        families |= {number: figures for number, figures in zip(others, told, strict=True) if figures is not None}
        merged = CollectorRegistry()
        merged.register(_Merged(families))
        return generate_latest(merged)

    async def _tell(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(_encode(list(_figures(self._registry))))
            async with asyncio.timeout(_TELLS_WITHIN_SECONDS):
                await writer.drain()
        except (OSError, TimeoutError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _ask(self, number: int) -> list[Family] | None:
        try:
            async with asyncio.timeout(_TELLS_WITHIN_SECONDS):
                return _decode(await self._read(number))
        except (OSError, TimeoutError, msgspec.DecodeError):
            return None

    async def _read(self, number: int) -> bytes:
        with _folder(self._directory) as folder:
            reader, writer = await asyncio.open_unix_connection(f"{folder}/{number}.sock")
        try:
            told = bytearray()
            while len(told) < _MAX_BYTES and (piece := await reader.read(65536)):
                told += piece
            return bytes(told)
        finally:
            writer.close()


@contextmanager
def _folder(directory: Path) -> Iterator[str]:
    # Linux allows a socket's path 107 bytes; by way of the open folder it may be as deep as it likes.
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _private_socket(directory: Path, index: int) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    try:
        with _folder(directory) as folder:
            fresh = Path(f"{folder}/{index}.{os.getpid()}")
            fresh.unlink(missing_ok=True)
            listening.bind(str(fresh))
            fresh.chmod(_PRIVATE)
            listening.listen(_BACKLOG)
            fresh.replace(f"{folder}/{index}.sock")
    except OSError:
        listening.close()
        raise
    return listening


class _Merged(Collector):
    def __init__(self, families: dict[int, list[Family]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        merged: dict[str, Metric] = {}
        for worker, families in sorted(self._families.items()):
            for family in families:
                metric = merged.get(family.name)
                if metric is None:
                    metric = merged[family.name] = Metric(family.name, family.documentation, family.type)
                for sample in family.samples:
                    metric.add_sample(sample.name, {"worker": str(worker), **sample.labels}, sample.value)
        return merged.values()


def _figures(registry: CollectorRegistry) -> Iterator[Family]:
    for metric in registry.collect():
        # A collector may say True, which the other side would not take for a number.
        samples = [Sample(each.name, dict(each.labels), float(each.value)) for each in metric.samples]
        yield Family(metric.name, metric.documentation, metric.type, samples)
