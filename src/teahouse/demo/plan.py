"""Who does what: every quota follows from the number of buyers and the stock. No I/O, no chance."""

from __future__ import annotations

from enum import StrEnum
from math import ceil
from typing import NamedTuple

import msgspec

PRICE = 1900
LIMIT_PER_BUYER = 1
MAX_CONNECTIONS = 512
# What one process holds beside its requests without being late itself.
MAX_SOCKETS = 1000
_MOST_DELIVERIES = 40_000


class Manner(StrEnum):
    """How a buyer sends a purchase."""

    PLAIN = "once"
    TWICE = "twice at the same time, with one Idempotency-Key"
    HANGS_UP = "hangs up before the answer and asks again with the same Idempotency-Key"


class Ending(StrEnum):
    """What a buyer does with a reservation."""

    PAYS = "pays"
    PAYS_TWICE = "pays, and sends the payment again"
    CANCELS = "cancels"
    VANISHES = "is never seen again until the reservation has expired"


class Part(NamedTuple):
    """One buyer's part before and during the rush."""

    early: bool
    greedy: bool
    manner: Manner


class Plan(msgspec.Struct, frozen=True):
    """The size of the day; everything else follows. Times in seconds."""

    buyers: int
    stock: int

    @property
    def connections(self) -> int:
        """How many connections the buyers share."""
        return min(self.buyers, MAX_CONNECTIONS)

    @property
    def most_waiting(self) -> int:
        """How many requests there can be at once: some buyers ask twice at the same time."""
        return 2 * self.buyers

    @property
    def lead_seconds(self) -> float:
        """From the announcement of the sale to its start: all have a look, and some are too early."""
        return 1.0 + self.buyers / 1500

    @property
    def pay_within_seconds(self) -> int:
        """Long enough for those who pay, short enough to watch the others lose what they reserved."""
        return 4 + self.buyers // 500

    @property
    def patience_seconds(self) -> float:
        """How long those who wait go on waiting after the last reservation must have expired."""
        return 10.0 + self.buyers / 500

    @property
    def told_within_seconds(self) -> float:
        """A push is told at most once: who has heard nothing after so long asks."""
        return 3.0

    def look_again_seconds(self, waiting: int) -> float:
        """How often a waiting buyer looks at the sale: together they look about a thousand times a second at most."""
        return max(0.25, waiting / 1000)

    def messages(self, sockets: int) -> int:
        """How much buyers say to each other: two messages each, or what makes forty thousand deliveries in all."""
        return max(2, min(2 * sockets, _MOST_DELIVERIES // max(sockets, 1)))

    def parts(self) -> list[Part]:
        """A part for each buyer."""
        early = spread(self.buyers, _share(self.buyers, 0.10))
        greedy = spread(self.buyers, _share(self.buyers, 0.05))
        twice = spread(self.buyers, _share(self.buyers, 0.20))
        left = [number for number in range(self.buyers) if number not in twice]
        hangs_up = {left[index] for index in spread(len(left), _share(len(left), 0.125))}
        return [
            Part(number in early, number in greedy, _manner(number, twice, hangs_up)) for number in range(self.buyers)
        ]


def endings(reservations: int) -> list[Ending]:
    """What becomes of that many reservations: about a fifth vanish, a tenth is cancelled, the others are paid.

    One alone is paid; of two, one vanishes; from three on, each ending occurs.
    """
    vanish = spread(reservations, _share(reservations, 0.20)) if reservations > 1 else set()
    left = [index for index in range(reservations) if index not in vanish]
    cancel = {left[index] for index in spread(len(left), _share(len(left), 0.125))} if reservations > 2 else set()
    paying = [index for index in left if index not in cancel]
    again = {paying[index] for index in spread(len(paying), _share(len(paying), 0.10))}
    return [_ending(index, vanish, cancel, again) for index in range(reservations)]


def some(count: int, share: float) -> set[int]:
    """About that share of ``range(count)``, at least one, evenly spread."""
    return spread(count, _share(count, share))


def spread(count: int, chosen: int) -> set[int]:
    """So many of ``range(count)``, evenly spread."""
    return {index * count // chosen for index in range(chosen)}


def _share(count: int, share: float) -> int:
    return min(count, ceil(count * share))


def _manner(number: int, twice: set[int], hangs_up: set[int]) -> Manner:
    if number in twice:
        return Manner.TWICE
    return Manner.HANGS_UP if number in hangs_up else Manner.PLAIN


def _ending(index: int, vanish: set[int], cancel: set[int], again: set[int]) -> Ending:
    if index in vanish:
        return Ending.VANISHES
    if index in cancel:
        return Ending.CANCELS
    return Ending.PAYS_TWICE if index in again else Ending.PAYS
