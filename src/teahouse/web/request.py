"""One request, as a handler sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from teahouse.problems import BadRequest

if TYPE_CHECKING:
    from teahouse.web.background import Work
    from teahouse.web.origin import Origin
    from teahouse.web.routing import Route
    from teahouse.web.streaming import BodyStream

_MAX_QUERY_FIELDS = 200


class Request:
    """An HTTP request whose body is complete, or arrives meanwhile by ``stream`` where its route ``streams``.

    ``path`` is as it was sent, without the query; ``headers`` maps lower-case names to raw values, repeated fields
    joined by a comma (RFC 9110 §5.3); ``id`` is what the answer carries as X-Request-Id; ``state`` is free for
    providers.
    """

    __slots__ = (
        "_query",
        "body",
        "close",
        "headers",
        "id",
        "method",
        "origin",
        "params",
        "path",
        "plain",
        "query_string",
        "route",
        "started",
        "state",
        "stream",
        "work",
    )

    def __init__(self, method: str, path: str, query_string: str, headers: dict[bytes, bytes], origin: Origin) -> None:
        self.method = method
        self.path = path
        self.query_string = query_string
        self.headers = headers
        self.origin = origin
        self.body = b""
        self.stream: BodyStream | None = None
        self.close = False
        # Whether a JSON answer needs nothing beyond the usual head and its body.
        self.plain = method != "HEAD"
        self.params: Sequence[str] = ()
        self.work: list[Work] | None = None
        self._query: dict[str, list[str]] | None = None
        self.route: Route
        self.id: bytes
        self.started: float
        self.state: Any = None

    def header(self, name: str) -> str | None:
        """The field's value by its case-insensitive name; None when absent."""
        value = self.headers.get(name.lower().encode("latin-1"))
        # The parser leaves the spaces behind a value (RFC 9110 §5.5) to those who read it.
        return None if value is None else value.decode("latin-1").strip(" \t")

    @property
    def query(self) -> dict[str, list[str]]:
        """The query's values by name; raises ``BadRequest`` where it is not percent-encoded UTF-8."""
        if self._query is None:
            self._query = _parse_query(self.query_string)
        return self._query

    @property
    def client_address(self) -> str:
        """The caller's IP address; X-Forwarded-For counts only from trusted proxies."""
        return self.origin.client_address(self.headers)

    @property
    def scheme(self) -> str:
        """``http`` or ``https``; X-Forwarded-Proto counts only from trusted proxies."""
        return self.origin.scheme(self.headers)


def _parse_query(query_string: str) -> dict[str, list[str]]:
    if not query_string:
        return {}
    try:
        pairs = parse_qsl(
            query_string, keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY_FIELDS, separator="&"
        )
    except ValueError as error:
        raise BadRequest("The query is not percent-encoded UTF-8, or has too many fields.") from error
    query: dict[str, list[str]] = {}
    for name, value in pairs:
        query.setdefault(name, []).append(value)
    return query
