"""The routes of files over a real socket, with a database and a folder of their own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from teahouse.accounts import Caller
from teahouse.engines.sql import Database
from teahouse.files import Files, UploadLimits
from teahouse.files.routes import install
from teahouse.files.storage_local import LocalStorage
from teahouse.files.store_sql import SqlUploadStore
from teahouse.problems import Unauthorized
from teahouse.web import App
from tests.clocks import ManualClock
from tests.web.wire import Live, Reply, serving

ANN, BOB = "a" * 32, "b" * 32
BYTES = "application/offset+octet-stream"
LIMITS = UploadLimits(max_bytes=10_000_000, quota_bytes=20_000_000, total_bytes=0, expire_seconds=3600)


def caller(request) -> Caller:
    name = request.header("x-caller")
    if name is None:
        raise Unauthorized
    return Caller(user_id=name, session_id="s", role="user", issued_at=0, expires_at=0)


class Desk:
    """Speaks tus in somebody's name."""

    def __init__(self, live: Live, files: Files, folder: Path, clock: ManualClock) -> None:
        self.live = live
        self.files = files
        self.folder = folder
        self.clock = clock

    async def ask(self, method: str, path: str, body: bytes = b"", *, by: str = ANN, **fields: str) -> Reply:
        wire = await self.live.connect()
        wire.send(raw(method, path, body, by=by, **fields))
        reply = await wire.reply(head_only=method == "HEAD")
        wire.close()
        return reply

    async def create(self, length: int | None = None, *, by: str = ANN, body: bytes = b"", **fields: str) -> Reply:
        if length is not None:
            fields["upload_length"] = str(length)
        return await self.ask("POST", "/v1/files", body, by=by, **fields)

    async def begun(self, length: int | None = None, **options) -> str:
        reply = await self.create(length, **options)
        assert reply.status == 201, reply
        return reply.headers["location"]

    async def add(self, path: str, offset: int, body: bytes, *, method: str = "PATCH", **fields: str) -> Reply:
        fields = {"content_type": BYTES, "upload_offset": str(offset)} | fields
        return await self.ask(method, path, body, **fields)

    async def whole(self, data: bytes, **fields: str) -> str:
        path = await self.begun(len(data), **fields)
        if data:
            assert (await self.add(path, 0, data, by=fields.get("by", ANN))).status == 204
        return path

    async def stand(self, path: str, *, by: str = ANN) -> Reply:
        return await self.ask("HEAD", path, by=by)

    def kept(self) -> list[Path]:
        return [each for each in self.folder.rglob("*") if each.is_file()]


def raw(method: str, path: str, body: bytes = b"", *, by: str = ANN, **fields: str) -> bytes:
    lines = {"host": "t", "x-caller": by, "tus-resumable": "1.0.0"}
    if body or method in ("POST", "PATCH"):
        lines["content-length"] = str(len(body))
    lines |= {name.replace("_", "-"): value for name, value in fields.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def metadata(**pairs: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


def checksum(algorithm: str, data: bytes) -> str:
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


@asynccontextmanager
async def opened(directory: Path, limits: UploadLimits = LIMITS, *, durable: bool = True) -> AsyncIterator[Desk]:
    clock, database = ManualClock(), Database(f"sqlite:///{directory}/tea.db")
    await database.connect()
    await database.create_all()
    storage = LocalStorage(directory / "files", durable=durable)
    files = Files(SqlUploadStore(database), storage, limits, clock=clock)
    app = App()
    app.provide(Caller, caller, security="bearer")
    install(app, files, storage)
    app.on_start(files.start)
    app.on_stop(files.aclose)
    async with serving(app) as live:
        yield Desk(live, files, directory / "files", clock)
    await database.aclose()
