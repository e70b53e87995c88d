"""The operator: an admin of the server that the day is played on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from teahouse.demo.answers import Books, Made, Said, SaleSeen, Tokens
from teahouse.demo.api import Api, Surprise, read, slug
from teahouse.demo.ledger import Kind
from teahouse.demo.plan import LIMIT_PER_BUYER, PRICE, Plan
from teahouse.settings import Secret

_SALE_LASTS = timedelta(hours=1)
# What one request to the rooms' routes may name.
_MOST_NAMED = 200


class DemoFailed(Exception):
    """The day cannot be played; the message says why and what to do."""


class Credentials(NamedTuple):
    """An admin's name and password. ``origin`` says which database it was made in, empty for one that was given."""

    username: str
    password: Secret
    origin: str = ""


class Operator:
    """Opens the shop and reads its books. Methods may raise ``Surprise``."""

    def __init__(self, api: Api, url: str) -> None:
        self.api = api
        self._url = url
        self._sale_id = ""

    async def find_the_server(self) -> None:
        """Raises ``DemoFailed`` where no Teahouse is ready."""
        try:
            answer = await self.api.ask(Kind.OTHER, "GET", "/readyz")
            if answer.status != 200:
                raise Surprise(f"GET /readyz: {answer.status}")
        except Surprise as surprise:
            raise DemoFailed(f"There is no Teahouse at {self._url}: {surprise}") from surprise

    async def log_in(self, credentials: Credentials) -> None:
        """Raises ``DemoFailed`` where the server does not know them as an admin."""
        body = {"username": credentials.username, "password": credentials.password.reveal()}
        answer = await self.api.ask(Kind.OTHER, "POST", "/v1/auth/password", json=body)
        if answer.status == 401 and credentials.origin:
            raise DemoFailed(
                f"The server at {self._url} does not use the database in {credentials.origin}. Pass its --data-dir, "
                "or the name of an admin with --admin."
            )
        if answer.status != 200:
            raise DemoFailed(f"{credentials.username} cannot log in at {self._url}: {answer.status} {slug(answer)}")
        self.api.token = read(answer, Tokens, 200).access_token

    async def log_out(self) -> None:
        """Ends the session."""
        await self.api.ask(Kind.OTHER, "POST", "/v1/auth/logout")

    async def offer(self) -> str:
        """A new product; its id."""
        body = {
            "name": "Gongfu tea set",
            "description": "A gaiwan, a pitcher and four cups in one box",
            "price": 9900,
        }
        answer = await self.api.ask(Kind.OTHER, "POST", "/v1/products", json=body)
        if answer.status == 403:
            raise DemoFailed("The account that was given is no admin; make one: teahouse user create --role admin")
        return read(answer, Made, 201).id

    async def announce(self, product_id: str, plan: Plan) -> str:
        """A sale that starts in a moment, by the server's clock; its id."""
        probe = await self.api.ask(Kind.OTHER, "GET", "/v1/sales?limit=1")
        starts = _date(probe.headers.get("date", "")) + timedelta(seconds=plan.lead_seconds)
        body = {
            "productId": product_id,
            "stock": plan.stock,
            "price": PRICE,
            "startsAt": starts,
            "endsAt": starts + _SALE_LASTS,
            "perBuyerLimit": LIMIT_PER_BUYER,
            "payWithinSeconds": plan.pay_within_seconds,
        }
        answer = await self.api.ask(Kind.OTHER, "POST", "/v1/sales", json=body)
        self._sale_id = read(answer, SaleSeen, 201).id
        return self._sale_id

    async def open_room(self, guests: list[str]) -> str:
        """A room with these users in it, for those who wait for the sale; its id."""
        body = {"name": "Gongfu tea set", "members": guests[:_MOST_NAMED]}
        room = read(await self.api.ask(Kind.OTHER, "POST", "/v1/rooms", json=body), Made, 201).id
        for start in range(_MOST_NAMED, len(guests), _MOST_NAMED):
            more = {"userIds": guests[start : start + _MOST_NAMED]}
            answer = await self.api.ask(Kind.OTHER, "POST", f"/v1/rooms/{room}/members", json=more)
            if answer.status != 200:
                raise Surprise(f"POST /v1/rooms/{room}/members: {answer.status} {slug(answer)}")
        return room

    async def say(self, room: str, kind: str, name: str, content: object) -> int:
        """Something to everybody in the room, in the shop's name; its sequence number. The same name is said once."""
        body = {"type": kind, "id": name, "to": f"room:{room}", "content": content}
        return read(await self.api.ask(Kind.OTHER, "POST", "/v1/messages", json=body, key=name), Said, 201).seq

    async def books(self) -> Books:
        """The sale's reconciliation at this moment."""
        return await self.api.get(Kind.OTHER, f"/v1/sales/{self._sale_id}/reconciliation", Books)


def _date(text: str) -> datetime:
    """The Date field of an answer (RFC 9110 §5.6.7). It names the second that has begun; the next is the latest."""
    try:
        return parsedate_to_datetime(text).astimezone(UTC) + timedelta(seconds=1)
    except ValueError as error:
        raise Surprise(f"the server's Date field is {text!r}") from error
