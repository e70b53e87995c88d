"""The promises of the shop, each a rule over what was seen. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from teahouse.demo.ledger import Ledger, Mishaps

PAID, RESERVED = "paid", "reserved"


class Verdict(msgspec.Struct, frozen=True):
    """One promise; ``broken`` lists how it was broken, empty where it was kept."""

    promise: str
    kept: bool
    broken: list[str]


def judge(ledger: Ledger) -> list[Verdict]:
    """Every promise, in the order of the table."""
    findings = ((promise, list(rule(ledger))) for promise, rule in _PROMISES)
    return [Verdict(promise, not broken, broken) for promise, broken in findings]


def _never_oversold(ledger: Ledger) -> Iterator[str]:
    paid = units(ledger, PAID)
    if paid > ledger.stock:
        yield f"{paid} items are paid for, there were {ledger.stock}"
    for books in ledger.books:
        if books.reserved + books.sold > ledger.stock or books.remaining < 0:
            yield f"{books.reserved} reserved and {books.sold} sold of {ledger.stock}, {books.remaining} remaining"
            return


def _never_undersold(ledger: Ledger) -> Iterator[str]:
    rush = ledger.rush_books
    if rush is not None and rush.remaining > 0:
        yield f"{rush.remaining} were left after the rush, though buyers had been told it was sold out"
    if ledger.unmet and ledger.books and ledger.books[-1].sold < ledger.stock:
        yield f"{ledger.unmet} buyers went home without, though only {ledger.books[-1].sold} of {ledger.stock} are sold"


def _books_add_up(ledger: Ledger) -> Iterator[str]:
    if not ledger.books:
        yield "the books were never seen"
    for books in ledger.books:
        accounted = books.remaining + books.reserved + books.sold
        if books.initial != ledger.stock or accounted != books.initial:
            yield f"{books.remaining} remaining + {books.reserved} reserved + {books.sold} sold is not {ledger.stock}"
            return
        if books.difference or books.orders != books.reserved + books.sold:
            yield f"difference {books.difference}: orders hold {books.orders}, {books.reserved + books.sold} counted"
            return


def _receipts_are_the_books(ledger: Ledger) -> Iterator[str]:
    if not ledger.books:
        return
    books, paid, reserved = ledger.books[-1], units(ledger, PAID), units(ledger, RESERVED)
    if (books.sold, books.reserved) != (paid, reserved):
        yield f"the shop says {books.sold} sold and {books.reserved} reserved, its buyers {paid} and {reserved}"


def _every_acceptance_is_an_order(ledger: Ledger) -> Iterator[str]:
    yield from _told(ledger.unreadable)
    for order_id, sold in ledger.sold.items():
        buyer, order = ledger.orders.get(order_id, (None, None))
        if order is None:
            yield f"order {order_id} was accepted and is gone"
        elif buyer != sold.buyer or order.quantity != sold.reserved.quantity:
            yield f"order {order_id} is not what was accepted"
    yield from (f"order {order_id} was never accepted" for order_id in ledger.orders.keys() - ledger.sold.keys())


def _asked_twice_answered_alike(ledger: Ledger) -> Iterator[str]:
    for twins in ledger.twins:
        if not twins.first.is_like(twins.again):
            first, again = twins.first, twins.again
            yield f"{twins.why}: {first.status} {first.problem}, then {again.status} {again.problem}, not alike"


def _limit_per_buyer(ledger: Ledger) -> Iterator[str]:
    # Nobody buys again after a reservation of theirs has returned, so that all of a buyer's units count together.
    accepted: Counter[int] = Counter()
    for sold in ledger.sold.values():
        accepted[sold.buyer] += sold.reserved.quantity
    held: Counter[int] = Counter()
    for buyer, order in ledger.orders.values():
        if order.status in (PAID, RESERVED):
            held[buyer] += order.quantity
    for buyer, quantity in (accepted | held).items():
        if quantity > ledger.limit:
            yield f"buyer {buyer} has {quantity}, {ledger.limit} are allowed"


def _right_refusals(ledger: Ledger) -> Iterator[str]:
    yield from _told(ledger.wrong_refusals)
    for probe in ledger.probes:
        if probe.got != probe.wanted:
            yield f"{probe.what}: {probe.got}, not {probe.wanted}"


def _unpaid_returns(ledger: Ledger) -> Iterator[str]:
    left = units(ledger, RESERVED)
    if left:
        yield f"{left} items are still reserved and not paid"
    if not ledger.in_time:
        yield "they had not returned when the time was up"


def _late_money(ledger: Ledger) -> Iterator[str]:
    for late in ledger.late:
        if late.state not in ("settled", "refund-due"):
            yield f"a late payment is {late.state}"
        elif late.state == "settled" and late.remaining_before <= 0:
            yield "a late payment was settled though nothing was left"
        elif late.state == "refund-due" and late.remaining_after > 0 and late.remaining_before > 0:
            yield "a late payment is refunded though stock was left"


def _no_surprises(ledger: Ledger) -> Iterator[str]:
    yield from _told(ledger.surprises)


_PROMISES: tuple[tuple[str, Callable[[Ledger], Iterator[str]]], ...] = (
    ("Never more sold than there is", _never_oversold),
    ("Nothing left over while somebody waits", _never_undersold),
    ("The books add up at every look: difference 0", _books_add_up),
    ("What buyers hold is what the books say", _receipts_are_the_books),
    ("Every accepted purchase is an order its buyer can read at once", _every_acceptance_is_an_order),
    ("Asked twice, answered alike", _asked_twice_answered_alike),
    ("Nobody has more than the limit", _limit_per_buyer),
    ("Every refusal says the right reason", _right_refusals),
    ("What is not paid returns on time, once", _unpaid_returns),
    ("Money that comes too late is settled or refunded", _late_money),
    ("Every request was answered", _no_surprises),
)


def units(ledger: Ledger, *statuses: str) -> int:
    """How many items the buyers' orders in these statuses hold, as they read them at the end."""
    return sum(order.quantity for _, order in ledger.orders.values() if order.status in statuses)


def _told(mishaps: Mishaps) -> Iterator[str]:
    yield from mishaps.kept
    if mishaps.count > len(mishaps.kept):
        yield f"and {mishaps.count - len(mishaps.kept)} more"
