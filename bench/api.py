"""A plain client for what comes before and after the measured time."""

import json
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

from bench.failures import BenchFailed


class Api:
    """JSON, one connection a question: minutes may lie between two of them."""

    def __init__(self, port: int, token: str = "") -> None:
        self._port = port
        self._token = token

    def signed_in(self, token: str) -> "Api":
        """The same server with an access token."""
        return Api(self._port, token)

    def get(self, path: str) -> dict[str, Any]:
        """Raises BenchFailed unless the answer is a 2xx."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, object]) -> dict[str, Any]:
        """Raises BenchFailed unless the answer is a 2xx."""
        return self._ask("POST", path, json.dumps(body))

    def _ask(self, method: str, path: str, body: str | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"} if body else {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        if not 200 <= answer.status < 300:
            raise BenchFailed(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
        result: dict[str, Any] = json.loads(text)
        return result
