"""The promises of the shop, each a rule over what was seen. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from teahouse.demo.ledger import Ledger, Mishaps
from teahouse.demo.talk import Push

PAID, RESERVED, EXPIRED = "paid", "reserved", "expired"
# The server's clock, as far as a buyer can tell.
_CLOCK_DOUBT_SECONDS = 0.25


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


def _everybody_hears(ledger: Ledger) -> Iterator[str]:
    talk, tally = ledger.talk, ledger.talk.tally
    for code, count in tally.lost.items():
        yield f"{count} sockets were lost ({code})"
    for problem, count in tally.refused.items():
        yield f"{count} messages were refused: {problem}"
    silent = tally.sent - tally.acknowledged - tally.refused.total()
    if silent:
        yield f"{silent} of {tally.sent} messages were never acknowledged"
    if tally.delivered < tally.expected:
        yield f"{tally.expected - tally.delivered} of {tally.expected} deliveries never came"
    if tally.doubled:
        yield f"{tally.doubled} came twice, or to who had said them"
    if tally.disordered or talk.misnumbered:
        yield f"{tally.disordered} came out of sequence, {talk.misnumbered} with another number"
    if sorted(talk.seqs.values()) != list(range(1, len(talk.seqs) + 1)):
        yield f"the {len(talk.seqs)} messages are not numbered from 1 without gaps"


def _results_are_heard(ledger: Ledger) -> Iterator[str]:
    talk = ledger.talk
    for order_id, (buyer, order) in ledger.orders.items():
        if order.status != RESERVED and (order_id, order.status) not in talk.heard:
            yield f"buyer {buyer} never heard that order {order_id} is {order.status}"
    for push in talk.pushes:
        wrong = _wrong(push, ledger)
        if wrong:
            yield f"buyer {push.buyer} was told that order {push.order_id} is {push.status}: {wrong}"
    for (order_id, status), count in Counter((push.order_id, push.status) for push in talk.pushes).items():
        if count > 1:
            yield f"that order {order_id} is {status} was told {count} times"


def _wrong(push: Push, ledger: Ledger) -> str:
    """What is wrong with that, empty where it is right."""
    sold = ledger.sold.get(push.order_id)
    if sold is None or sold.buyer != push.buyer:
        return "it is not theirs"
    if push.status == EXPIRED:
        # It may be paid all the same, too late.
        return "too soon" if push.at < sold.reserved.pay_before.timestamp() - _CLOCK_DOUBT_SECONDS else ""
    _, order = ledger.orders.get(push.order_id, (None, None))
    return f"it is {order.status}" if order is not None and order.status != push.status else ""


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
    ("Every message in the room reaches everybody there, in sequence, once", _everybody_hears),
    ("Every buyer hears what became of their order", _results_are_heard),
    ("Every request was answered", _no_surprises),
)


def units(ledger: Ledger, *statuses: str) -> int:
    """How many items the buyers' orders in these statuses hold, as they read them at the end."""
    return sum(order.quantity for _, order in ledger.orders.values() if order.status in statuses)


def _told(mishaps: Mishaps) -> Iterator[str]:
    yield from mishaps.kept
    if mishaps.count > len(mishaps.kept):
        yield f"and {mishaps.count - len(mishaps.kept)} more"
