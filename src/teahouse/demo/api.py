"""One person's way to the server: tokens, patience, and the time each request took."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any, TypeVar

import msgspec

from teahouse.demo.answers import SaleSeen
from teahouse.demo.ledger import Kind, Ledger, Reply
from teahouse.web.client import Answer, BadAnswer, Client, ClientError

T = TypeVar("T")

_TRIES = 5
_PATIENCE_SECONDS = 20.0
_LONGEST_PAUSE_SECONDS = 5.0
_BUSY = (429, 503)


class Surprise(Exception):
    """The server did not answer, or not as its contract says. The message says who asked what and what came."""


class Api:
    """Requests of one person. ``token`` is the access token, empty before the login."""

    def __init__(self, client: Client, ledger: Ledger) -> None:
        self.token = ""
        self._client = client
        self._ledger = ledger

    async def ask(
        self,
        kind: Kind,
        method: str,
        path: str,
        *,
        json: Any = msgspec.UNSET,
        key: str = "",
        token: str | None = None,
    ) -> Answer:
        """Any answer but "come back later", which is obeyed a few times. Raises ``Surprise``.

        Where the answer does not come, what may be asked twice is asked again: GET, and what has a key.
        """
        headers = {"Idempotency-Key": key} if key else {}
        bearer = self.token if token is None else token
        began = perf_counter()
        last = "no answer"
        for _ in range(_TRIES):
            if perf_counter() - began > _PATIENCE_SECONDS:
                break
            try:
                answer = await self._client.request(method, path, json=json, headers=headers, token=bearer)
            except ClientError as error:
                if error.sent and method != "GET" and not key:
                    raise Surprise(f"{method} {path}: {error}") from error
                last, pause = str(error), 0.1
            else:
                self._ledger.answered(kind, answer.seconds, perf_counter())
                if answer.status not in _BUSY:
                    return answer
                last, pause = f"{answer.status}", _retry_after(answer.headers)
            self._ledger.asked_again += 1
            await asyncio.sleep(pause)
        raise Surprise(f"{method} {path}: {last}, again and again")

    async def get(self, kind: Kind, path: str, shape: type[T]) -> T:
        """What is there; raises ``Surprise``."""
        return read(await self.ask(kind, "GET", path), shape, 200)

    async def hang_up(self, path: str, json: Any, key: str) -> None:
        """Posts and is gone before the answer; whether it arrived is unknown."""
        try:
            headers = {"Idempotency-Key": key}
            await self._client.hang_up("POST", path, json=json, headers=headers, token=self.token)
        except ClientError as error:
            if error.sent:
                raise Surprise(f"POST {path}: {error}") from error


class ServerClock:
    """The server's time, as far as one request can tell: good to half of its round trip."""

    def __init__(self) -> None:
        self._offset = 0.0

    async def read(self, api: Api, sale_path: str) -> SaleSeen:
        """Sets the clock by the sale's ``serverTime``; returns the sale. Raises ``Surprise``."""
        asked = perf_counter()
        sale = await api.get(Kind.SALE, sale_path, SaleSeen)
        self._offset = sale.server_time.timestamp() - (asked + perf_counter()) / 2
        return sale

    def now(self) -> float:
        """Unix seconds on the server."""
        return perf_counter() + self._offset


def reply(answer: Answer) -> Reply:
    """The answer as it is compared with another one."""
    return Reply(answer.status, slug(answer), answer.body)


def slug(answer: Answer) -> str:
    """The problem's name, empty where it is none. Raises ``Surprise``."""
    try:
        problem = answer.problem
    except BadAnswer as error:
        raise Surprise(f"{answer.status}: {error}") from error
    return problem.slug if problem else ""


def read(answer: Answer, shape: type[T], status: int) -> T:
    """The answer in that shape; raises ``Surprise`` where it has another status or does not fit."""
    if answer.status != status:
        raise Surprise(f"{answer.status} {slug(answer)} instead of {status}")
    try:
        return answer.read(shape)
    except BadAnswer as error:
        raise Surprise(str(error)) from error


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("retry-after", "")
    return min(float(text), _LONGEST_PAUSE_SECONDS) if text.isascii() and text.isdigit() else 1.0
