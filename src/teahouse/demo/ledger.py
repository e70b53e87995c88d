"""What was seen in the course of the day. It only writes down; ``promises.py`` judges."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from enum import StrEnum
from typing import NamedTuple

import msgspec

from teahouse.demo.answers import Books, OrderSeen, Reserved
from teahouse.demo.talk import Talk

# Of each kind of mishap; the number of all is counted apart.
MOST_KEPT = 20


class Ask(StrEnum):
    """Why a purchase was asked for."""

    EARLY = "before the sale started"
    GREEDY = "more than one buyer may have"
    RUSH = "when the sale started"
    WAITING = "when stock had returned"
    OTHER_BODY = "with the key of another purchase"


class Kind(StrEnum):
    """A kind of request, for the times."""

    LOGIN = "log in"
    CATALOGUE = "look at the catalogue"
    SALE = "look at the sale"
    PURCHASE = "purchase"
    ORDER = "read an order"
    PAYMENT = "pay"
    CANCEL = "cancel"
    OTHER = "everything else"


class Reply(msgspec.Struct, frozen=True):
    """An answer as it is compared: ``problem`` is a slug, empty where there was none."""

    status: int
    problem: str
    body: bytes

    def is_like(self, other: Reply) -> bool:
        """Acceptances must agree in every byte, refusals in their kind."""
        if (self.status, self.problem) != (other.status, other.problem):
            return False
        return bool(self.problem) or self.body == other.body


class Twins(NamedTuple):
    """One thing asked for twice, and both answers."""

    why: str
    first: Reply
    again: Reply


class Probe(NamedTuple):
    """Something tried on purpose, the answer it must get and the one it got: a status and a problem's slug."""

    what: str
    wanted: str
    got: str

    @property
    def slug(self) -> str:
        """The problem it got, empty where there was none."""
        return self.got.partition(" ")[2]


class Sold(msgspec.Struct, frozen=True):
    """An accepted purchase; ``resold`` where the stock had been somebody else's before."""

    buyer: int
    reserved: Reserved
    resold: bool


class Late(NamedTuple):
    """A payment after the reservation had expired, and the stock that remained just before and just after."""

    state: str
    remaining_before: int
    remaining_after: int


class Mishaps:
    """The first few of a kind, and how many there were."""

    def __init__(self) -> None:
        self.count = 0
        self.kept: list[str] = []

    def add(self, what: str) -> None:
        """One more."""
        self.count += 1
        if len(self.kept) < MOST_KEPT:
            self.kept.append(what)


class Ledger:
    """Everything that was seen. ``books`` are the reconciliations in the order in which they were read."""

    def __init__(self, *, buyers: int, stock: int, limit: int) -> None:
        self.buyers = buyers
        self.stock = stock
        self.limit = limit
        self.sold: dict[str, Sold] = {}
        self.refused: Counter[str] = Counter()
        self.twins: list[Twins] = []
        self.probes: list[Probe] = []
        self.books: list[Books] = []
        self.orders: dict[str, tuple[int, OrderSeen]] = {}
        self.late: list[Late] = []
        self.talk = Talk()
        self.unmet = 0
        self.in_time = True
        self.rush_books: Books | None = None
        self.rush_purchases = 0
        self.rush_seconds = 0.0
        self.asked_again = 0
        self.wrong_refusals = Mishaps()
        self.unreadable = Mishaps()
        self.surprises = Mishaps()
        self.seconds: defaultdict[Kind, array[float]] = defaultdict(lambda: array("d"))
        self.latest: dict[Kind, float] = {}

    def answered(self, kind: Kind, seconds: float, moment: float) -> None:
        """A request took that long; ``moment`` is a ``perf_counter`` of now."""
        self.seconds[kind].append(seconds)
        self.latest[kind] = moment

    def accepted(self, buyer: int, reserved: Reserved, *, resold: bool) -> None:
        """A purchase was answered with 202."""
        earlier = self.sold.get(reserved.order_id)
        if earlier is None:
            self.sold[reserved.order_id] = Sold(buyer, reserved, resold)
        elif earlier.buyer != buyer:
            self.surprises.add(f"order {reserved.order_id} was given to two buyers")

    def refusal(self, ask: Ask, status: int, slug: str) -> None:
        """A purchase was refused."""
        self.refused[slug] += 1
        if (status, slug) != RIGHT_REFUSALS[ask]:
            self.wrong_refusals.add(f"asked {ask}: {status} {slug}")


RIGHT_REFUSALS = {
    Ask.EARLY: (409, "sale-not-started"),
    Ask.GREEDY: (409, "limit-reached"),
    Ask.RUSH: (409, "sold-out"),
    Ask.WAITING: (409, "sold-out"),
    Ask.OTHER_BODY: (422, "idempotency-mismatch"),
}
