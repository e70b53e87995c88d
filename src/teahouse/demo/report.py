"""The closing table as values: what a newcomer is to see at once. No I/O."""

from __future__ import annotations

from collections import Counter
from math import ceil

import msgspec

from teahouse.demo.ledger import Kind, Ledger
from teahouse.demo.promises import PAID, RESERVED, Verdict, judge, units


class Times(msgspec.Struct, frozen=True, rename="camel"):
    """How long requests of one kind took, in milliseconds, as the buyers saw it."""

    kind: str
    requests: int
    p50: float
    p99: float


class Doubles(msgspec.Struct, frozen=True, rename="camel"):
    """Things asked for twice in one way, and how many were answered alike."""

    why: str
    pairs: int
    alike: int


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """The day in figures. ``refused`` counts by problem.

    ``difference`` is that of the last reconciliation, None where the books were never seen.
    """

    buyers: int
    stock: int
    seconds: float
    sold: int
    still_reserved: int
    remaining: int | None
    bought_in_the_rush: int
    expired: int
    cancelled: int
    resold: int
    went_without: int
    rush_purchases: int
    rush_seconds: float
    purchases_per_second: int
    refused: dict[str, int]
    doubles: list[Doubles]
    late_settled: int
    late_refunded: int
    times: list[Times]
    looks_at_the_books: int
    difference: int | None
    asked_again: int
    kept: bool
    promises: list[Verdict]


def close_books(ledger: Ledger, seconds: float) -> Report:
    """The report on a day that took that long."""
    last = ledger.books[-1] if ledger.books else None
    resold = sum(sold.reserved.quantity for sold in ledger.sold.values() if sold.resold)
    rush = ledger.rush_seconds
    promises = judge(ledger)
    return Report(
        buyers=ledger.buyers,
        stock=ledger.stock,
        seconds=round(seconds, 2),
        sold=units(ledger, PAID),
        still_reserved=units(ledger, RESERVED),
        remaining=last.remaining if last else None,
        bought_in_the_rush=sum(sold.reserved.quantity for sold in ledger.sold.values()) - resold,
        expired=units(ledger, "expired"),
        cancelled=units(ledger, "cancelled"),
        resold=resold,
        went_without=ledger.unmet,
        rush_purchases=ledger.rush_purchases,
        rush_seconds=round(rush, 3),
        purchases_per_second=round(ledger.rush_purchases / rush) if rush else 0,
        refused=dict((ledger.refused + Counter(probe.slug for probe in ledger.probes if probe.slug)).most_common()),
        doubles=_doubles(ledger),
        late_settled=sum(late.state == "settled" for late in ledger.late),
        late_refunded=sum(late.state == "refund-due" for late in ledger.late),
        times=[_times(kind, ledger) for kind in Kind if kind is not Kind.OTHER and ledger.seconds[kind]],
        looks_at_the_books=len(ledger.books),
        difference=last.difference if last else None,
        asked_again=ledger.asked_again,
        kept=all(verdict.kept for verdict in promises),
        promises=promises,
    )


def percentile(ordered: list[float], share: float) -> float:
    """The smallest value that at least that share of ``ordered`` does not exceed (nearest rank)."""
    return ordered[max(0, ceil(len(ordered) * share) - 1)]


def _times(kind: Kind, ledger: Ledger) -> Times:
    ordered = sorted(ledger.seconds[kind])
    p50, p99 = (round(percentile(ordered, share) * 1000, 2) for share in (0.50, 0.99))
    return Times(kind, len(ordered), p50, p99)


def _doubles(ledger: Ledger) -> list[Doubles]:
    pairs = Counter(twins.why for twins in ledger.twins)
    alike = Counter(twins.why for twins in ledger.twins if twins.first.is_like(twins.again))
    return [Doubles(why, count, alike[why]) for why, count in sorted(pairs.items())]
