"""The sandbox over HTTP: installed only where the sandbox stands in for WeChat."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from teahouse.clock import to_datetime
from teahouse.problems import DatabaseUnavailable
from teahouse.web import App
from teahouse.wechat.sandbox import ISSUED_NAME, SandboxWechat

# Checked by sandbox.py, which says what is wrong in better words than a pattern.
Name = Annotated[str, Meta(extra_json_schema={"pattern": ISSUED_NAME, "minLength": 1, "maxLength": 64})]


class CodeRequest(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Who the code is to log in as."""

    name: Name


class CodeView(msgspec.Struct, rename="camel"):
    """A login code, good once and until it expires."""

    code: str
    expires_at: datetime


def install_sandbox(app: App, sandbox: SandboxWechat) -> None:
    """Registers the route that stands in for ``wx.login``."""

    @app.post("/v1/sandbox/codes", status=201, tags=("sandbox",), problems=(DatabaseUnavailable,))
    async def issue_code(body: CodeRequest) -> CodeView:
        """A login code, as wx.login would give it; five minutes, once."""
        issued = await sandbox.issue(body.name)
        return CodeView(issued.code, to_datetime(issued.expires_at))
