"""The closing table as values: what a newcomer is to see at once. No I/O."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from math import ceil

import msgspec

from teahouse.demo.ledger import Kind, Ledger
from teahouse.demo.promises import PAID, RESERVED, Verdict, judge, units
from teahouse.demo.talk import Talk


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


class RoomFigures(msgspec.Struct, frozen=True, rename="camel"):
    """What was said in the sale's room. ``wanted`` sockets were tried; ``absent`` says why some of them were not had.

    ``returned`` counts how often a socket that was lost was had again, and ``lost`` those that were not, by close code,
    1006 where there was none. Delays are in milliseconds, to all receivers.
    """

    wanted: int
    sockets: int
    absent: str
    returned: int
    lost: dict[int, int]
    sent: int
    by_the_shop: int
    acknowledged: int
    expected: int
    delivered: int
    in_sequence: bool
    p50: float
    p99: float


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
    room: RoomFigures
    results_by_push: int
    results_by_asking: int
    news: list[Times]
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
        room=_room(ledger.talk),
        results_by_push=sum(each.by_push for each in ledger.talk.heard.values()),
        results_by_asking=sum(not each.by_push for each in ledger.talk.heard.values()),
        news=list(_news(ledger.talk)),
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


def _room(talk: Talk) -> RoomFigures:
    tally = talk.tally
    p50, p99 = (round(tally.to_receiver.quantile(share) * 1000, 2) for share in (0.50, 0.99))
    return RoomFigures(
        wanted=talk.wanted,
        sockets=talk.sockets,
        absent=talk.absent,
        returned=talk.returned,
        lost=dict(tally.lost.most_common()),
        sent=tally.sent,
        by_the_shop=talk.by_the_shop,
        acknowledged=tally.acknowledged,
        expected=tally.expected,
        delivered=tally.delivered,
        in_sequence=not (tally.doubled or tally.disordered or talk.misnumbered),
        p50=p50,
        p99=p99,
    )


def _news(talk: Talk) -> Iterator[Times]:
    """How long after it happened buyers were told, by what had become of their orders."""
    told: defaultdict[str, list[float]] = defaultdict(list)
    for (_, status), heard in talk.heard.items():
        if heard.by_push:
            told[status].append(heard.seconds)
    for status, seconds in sorted(told.items(), reverse=True):
        ordered = sorted(seconds)
        p50, p99 = (round(percentile(ordered, share) * 1000, 2) for share in (0.50, 0.99))
        yield Times(f"order {status}", len(ordered), p50, p99)


def _doubles(ledger: Ledger) -> list[Doubles]:
    pairs = Counter(twins.why for twins in ledger.twins)
    alike = Counter(twins.why for twins in ledger.twins if twins.first.is_like(twins.again))
    return [Doubles(why, count, alike[why]) for why, count in sorted(pairs.items())]
