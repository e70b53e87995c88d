"""Resumable uploads over HTTP: tus 1.0 (https://tus.io/protocols/resumable-upload), no rules of its own."""

from __future__ import annotations

from teahouse.accounts import Caller
from teahouse.files.model import TUS_VERSION, Checksum, read_checksum, read_concat, read_length, read_metadata
from teahouse.files.problems import (
    ChecksumMismatch,
    InsufficientStorage,
    QuotaExceeded,
    TusVersionUnsupported,
    UploadComplete,
    UploadExpired,
    UploadLocked,
    UploadOffsetMismatch,
)
from teahouse.files.service import Files, New
from teahouse.files.views import abilities, address, standing_fields, tus_fields
from teahouse.problems import (
    BadRequest,
    ContentTooLarge,
    DatabaseUnavailable,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    ShuttingDown,
    UnsupportedMediaType,
    ValidationFailed,
)
from teahouse.web import App, Request, Response

_TAGS = ("files",)
_BYTES = "application/offset+octet-stream"
_BUSY = (DatabaseUnavailable, Overloaded, ShuttingDown)
_HERE = (NotFound, UploadExpired, UploadLocked, TusVersionUnsupported, *_BUSY)
_CREATING = (BadRequest, ValidationFailed, ContentTooLarge, QuotaExceeded, InsufficientStorage, ChecksumMismatch)
_ADDING = (UploadOffsetMismatch, UploadComplete, UnsupportedMediaType)


def install(app: App, files: Files) -> None:
    """The routes of uploads."""
    tus = _Tus(files)
    # Not in the OpenAPI document before it says how headers and bodies of tus look.
    adding = (*_CREATING, *_ADDING, *_HERE)
    app.route("OPTIONS", "/v1/files", status=204, tags=_TAGS, hidden=True)(tus.options)
    app.post("/v1/files", tags=_TAGS, streams=True, problems=(*_CREATING, *_HERE), hidden=True)(tus.create)
    app.route("HEAD", "/v1/files/{file_id}", tags=_TAGS, problems=_HERE, hidden=True)(tus.stand)
    app.patch("/v1/files/{file_id}", tags=_TAGS, streams=True, problems=adding, hidden=True)(tus.add)
    app.post("/v1/files/{file_id}", tags=_TAGS, streams=True, problems=adding, hidden=True)(tus.add_by_post)
    app.delete("/v1/files/{file_id}", tags=_TAGS, problems=_HERE, hidden=True)(tus.terminate)


class _Tus:
    def __init__(self, files: Files) -> None:
        self._files = files

    def options(self) -> Response:
        """What this server can do with uploads; needs no login."""
        return Response(204, headers=abilities(self._files.settings.max_bytes))

    async def create(self, caller: Caller, request: Request) -> Response:
        """Begins an upload; with a body, its first bytes come along. Of finished partial uploads it makes one file."""
        _check_version(request)
        kind, parts = read_concat(request.header("upload-concat"))
        described = read_metadata(request.header("upload-metadata"))
        length = _length(request)
        if kind == "final":
            if length is not None or request.header("upload-defer-length") is not None:
                raise BadRequest("A final upload is as long as its parts: it says no length.")
            upload = await self._files.join(caller.user_id, parts, described)
            return Response(201, headers={"Location": address(upload), "Tus-Resumable": TUS_VERSION})
        if length is None and request.header("upload-defer-length") is None:
            raise BadRequest("Say Upload-Length, or Upload-Defer-Length: 1 where it is not known yet.")
        checksum = _with_body(request)
        upload = await self._files.create(caller.user_id, New(kind, length, described))
        fields = {"Location": address(upload)}
        if request.header("content-type") == _BYTES and request.stream is not None and not upload.is_complete:
            upload = await self._files.receive(caller.user_id, upload.id, 0, request.stream, checksum=checksum)
        return Response(201, headers=fields | tus_fields(upload))

    async def stand(self, caller: Caller, file_id: str) -> Response:
        """How far an upload has come, for a client that goes on; whoever else is writing it stops before."""
        upload = await self._files.stand(caller.user_id, file_id)
        return Response(200, headers=standing_fields(upload))

    async def add(self, caller: Caller, file_id: str, request: Request) -> Response:
        """More bytes of an upload, from where it stands; the last ones make it a file."""
        _check_version(request)
        if request.header("content-type") != _BYTES:
            raise UnsupportedMediaType(f"Bytes are sent with Content-Type: {_BYTES}.")
        offset = read_length(request.header("upload-offset"), "Upload-Offset")
        if offset is None:
            raise BadRequest("Upload-Offset says where the bytes begin.")
        checksum = read_checksum(request.header("upload-checksum"))
        if request.stream is None:
            raise BadRequest("There are no bytes.")
        upload = await self._files.receive(
            caller.user_id, file_id, offset, request.stream, length=_length(request), checksum=checksum
        )
        return Response(204, headers=tus_fields(upload))

    async def add_by_post(self, caller: Caller, file_id: str, request: Request) -> Response:
        """The same for mini-programs, which cannot send PATCH: with ``X-HTTP-Method-Override: PATCH``."""
        if (request.header("x-http-method-override") or "").upper() != "PATCH":
            raise MethodNotAllowed(
                "Send PATCH, or X-HTTP-Method-Override: PATCH with this POST.",
                headers={"Allow": "DELETE, GET, HEAD, OPTIONS, PATCH, POST"},
            )
        return await self.add(caller, file_id, request)

    async def terminate(self, caller: Caller, file_id: str, request: Request) -> Response:
        """Deletes an upload or a file; its room is free as soon as no other file has the same content."""
        if request.header("tus-resumable") is not None:
            _check_version(request)
        await self._files.remove(caller.user_id, file_id)
        return Response(204, headers={"Tus-Resumable": TUS_VERSION})


def _check_version(request: Request) -> None:
    if request.header("tus-resumable") != TUS_VERSION:
        raise TusVersionUnsupported(headers={"Tus-Version": TUS_VERSION})


def _length(request: Request) -> int | None:
    length = read_length(request.header("upload-length"), "Upload-Length")
    deferred = request.header("upload-defer-length")
    if deferred is not None and (deferred != "1" or length is not None):
        raise BadRequest("Upload-Defer-Length is 1, instead of Upload-Length.")
    return length


def _with_body(request: Request) -> Checksum | None:
    """The checksum of the bytes that come with a new upload. Raises where there are bytes of another kind."""
    body, kind = request.stream, request.header("content-type")
    if kind != _BYTES and body is not None and (body.length or not body.is_over):
        raise UnsupportedMediaType(f"Bytes are sent with Content-Type: {_BYTES}.")
    return read_checksum(request.header("upload-checksum")) if kind == _BYTES else None
