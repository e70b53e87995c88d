"""Files over HTTP: what there is, and their bytes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from teahouse.accounts import Caller
from teahouse.files import routes_tus
from teahouse.files.downloads import download
from teahouse.files.problems import PreconditionFailed, RangeNotSatisfiable, UploadExpired
from teahouse.files.service import Files
from teahouse.files.storage import Storage
from teahouse.files.views import FilePage, FileView, file_view
from teahouse.problems import DatabaseUnavailable, NotFound
from teahouse.web import App, Request, Response, StreamedResponse

Limit = Annotated[int, Meta(ge=1, le=100)]
Cursor = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", description="nextCursor of the page before")]
_TAGS = ("files",)
_HERE = (NotFound, UploadExpired, DatabaseUnavailable)


def install(app: App, files: Files, storage: Storage) -> None:
    """The routes of files and uploads."""
    routes_tus.install(app, files)

    @app.get("/v1/files", tags=_TAGS, problems=(DatabaseUnavailable,), hidden=True)
    async def page(caller: Caller, limit: Limit = 20, cursor: Cursor | None = None) -> FilePage:
        """The caller's files and unfinished uploads, newest first."""
        found = await files.page(caller.user_id, cursor, limit)
        return FilePage([file_view(each) for each in found], found[-1].id if len(found) == limit else None)

    @app.get("/v1/files/{file_id}", tags=_TAGS, problems=_HERE, hidden=True)
    async def file(caller: Caller, file_id: str) -> FileView:
        """What is known of one file or upload."""
        return file_view(await files.own(caller.user_id, file_id))

    @app.get(
        "/v1/files/{file_id}/content",
        tags=_TAGS,
        problems=(*_HERE, PreconditionFailed, RangeNotSatisfiable),
        hidden=True,
    )
    async def content(caller: Caller, file_id: str, request: Request) -> Response | StreamedResponse:
        """The file's bytes, all or those that Range asks for; they never change, so whoever has them may keep them."""
        return download(storage, await files.own(caller.user_id, file_id), request)
