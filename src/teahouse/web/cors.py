"""Cross-origin requests from browsers (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from __future__ import annotations

from collections.abc import Iterable

from teahouse.web.request import Request
from teahouse.web.response import Response

_EXPOSED = "X-Request-Id, Retry-After, Location, ETag, Upload-Offset, Upload-Length, Tus-Resumable"
_MAX_AGE_SECONDS = 600


class Cors:
    """Lets the pages of the named origins call the API; ``*`` lets every page.

    Nothing is at stake but what the page itself holds: credentials travel as Bearer tokens, never as cookies.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def decorate(self, request: Request, response: Response) -> None:
        """Adds the fields that let the asking page read the answer, and the preflight's."""
        origin = request.header("origin")
        if origin is None:
            return
        response.headers["Vary"] = "Origin"
        if "*" not in self._origins and origin not in self._origins:
            return
        response.headers["Access-Control-Allow-Origin"] = "*" if "*" in self._origins else origin
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
        if request.method == "OPTIONS" and request.header("access-control-request-method") is not None:
            response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "GET")
            asked = request.header("access-control-request-headers")
            if asked is not None:
                response.headers["Access-Control-Allow-Headers"] = asked
            response.headers["Access-Control-Max-Age"] = str(_MAX_AGE_SECONDS)
