"""The HTTP kernel: routing, binding, requests and responses, limits, the access log, OpenAPI, a test client."""

from teahouse.web.app import App
from teahouse.web.background import Background
from teahouse.web.binding import Header
from teahouse.web.calling import Maybe
from teahouse.web.limits import Limits
from teahouse.web.request import Request
from teahouse.web.response import Response, json_response
from teahouse.web.sending import StreamedResponse
from teahouse.web.testing import TestClient

__all__ = [
    "App",
    "Background",
    "Header",
    "Limits",
    "Maybe",
    "Request",
    "Response",
    "StreamedResponse",
    "TestClient",
    "json_response",
]
