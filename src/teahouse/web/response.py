"""Answers, and how they look on the wire."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus

import msgspec

from teahouse.problems import Problem

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"

encode_json = msgspec.json.Encoder().encode

# 460 is that of tus (https://tus.io/protocols/resumable-upload#checksum).
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {460: "Checksum Mismatch"}
_FORBIDDEN = re.compile(r"[\r\n\0]|[^\x00-\xff]")
_BODILESS = frozenset((204, 304))


class Response:
    """An answer with its bytes ready. ``headers`` come on top of those that every answer carries.

    Raises ``ValueError`` where a header would break out of its line or holds what is not Latin-1 (RFC 9110 §5.5).
    """

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        status: int = 200,
        body: bytes = b"",
        *,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = dict(headers or {})
        for name, value in self.headers.items():
            _check(name, value)
        if content_type is not None:
            _check("Content-Type", content_type)


def _check(name: str, value: str) -> None:
    if _FORBIDDEN.search(name) or _FORBIDDEN.search(value):
        raise ValueError(f"header {name!r} holds a line break or is not Latin-1")


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value that msgspec can encode, as JSON."""
    return Response(status, encode_json(value), content_type=JSON, headers=headers)


def problem_response(problem: Problem, instance: str) -> Response:
    """A problem as application/problem+json (RFC 9457); ``instance`` is the path that was asked for,
    empty where the request was not read as far as that.
    """
    document: dict[str, object] = {
        "type": f"/problems/{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
    }
    if instance:
        document["instance"] = instance
    if problem.errors:
        document["errors"] = problem.errors
    return Response(problem.status, encode_json(document), content_type=PROBLEM_JSON, headers=problem.headers)


class Heads:
    """Renders answers. The part of the head that only status and content type decide is kept for a second."""

    __slots__ = ("_date", "_prefixes", "_second")

    def __init__(self) -> None:
        self._prefixes: dict[tuple[int, str | None], bytes] = {}
        self._second = -1
        self._date = ""
        self.refresh()

    def refresh(self) -> None:
        """Brings the Date field up to date; called a few times a second."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True)
            self._prefixes.clear()

    def render_json(self, status: int, body: bytes, request_id: bytes) -> bytes:
        """A keep-alive JSON answer without further headers: what nearly every answer is."""
        prefix = self._prefixes.get((status, JSON)) or self._prefix(status, JSON)
        return b"%b%d\r\nx-request-id: %b\r\n\r\n%b" % (prefix, len(body), request_id, body)

    def render(
        self, response: Response, request_id: bytes, *, close: bool, head_only: bool, length: int | None = None
    ) -> bytes:
        """Any answer; ``length`` is that of a body which follows later. Raises ``ValueError`` where a header cannot be
        sent, ``TypeError`` where it is no answer.
        """
        if response.body.__class__ is not bytes or not 200 <= response.status <= 599:
            raise TypeError("a response has bytes as its body and a final status")
        key = (response.status, response.content_type)
        prefix = self._prefixes.get(key) or self._prefix(*key)
        extra = "".join(f"{name.lower()}: {value}\r\n" for name, value in response.headers.items())
        if extra.count("\n") != len(response.headers) or extra.count("\r") != len(response.headers):
            raise ValueError("a header that was added later holds a line break")
        if close:
            extra += "connection: close\r\n"
        size = len(response.body) if length is None else length
        told = b"" if response.status in _BODILESS else b"%d\r\n" % size
        body = b"" if head_only or response.status in _BODILESS else response.body
        return b"%b%bx-request-id: %b\r\n%b\r\n%b" % (prefix, told, request_id, extra.encode("latin-1"), body)

    def _prefix(self, status: int, content_type: str | None) -> bytes:
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}", f"date: {self._date}"]
        lines.append("x-content-type-options: nosniff")
        if content_type is not None:
            lines.append(f"content-type: {content_type}")
        text = "\r\n".join(lines) + "\r\n"
        if status not in _BODILESS:
            text += "content-length: "
        prefix = text.encode("latin-1")
        # Content types may come from uploads: a flood of new ones must not fill memory.
        if len(self._prefixes) < 1000:
            self._prefixes[status, content_type] = prefix
        return prefix
