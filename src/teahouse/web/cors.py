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

    def decorate(self, request: Request, response: Response) -> Response:
        """The response with the fields that let the asking page read it, and the preflight's.

        The response itself stays as it is: a handler may return the same one again and again, to other pages.
        """
        origin = request.header("origin")
        if origin is None:
            return response
        fields = {"Vary": ", ".join(filter(None, (response.headers.get("Vary"), "Origin")))}
        if "*" in self._origins or origin in self._origins:
            fields["Access-Control-Allow-Origin"] = "*" if "*" in self._origins else origin
            fields["Access-Control-Expose-Headers"] = _EXPOSED
            method = request.header("access-control-request-method")
            if request.method == "OPTIONS" and method is not None:
                fields |= self._preflight(request, response.headers.get("Allow", method))
        headers = {**response.headers, **fields}
        return Response(response.status, response.body, content_type=response.content_type, headers=headers)

    def _preflight(self, request: Request, methods: str) -> dict[str, str]:
        fields = {"Access-Control-Allow-Methods": methods, "Access-Control-Max-Age": str(_MAX_AGE_SECONDS)}
        asked = request.header("access-control-request-headers")
        return fields if asked is None else {**fields, "Access-Control-Allow-Headers": asked}
