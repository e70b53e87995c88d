"""Ledgers of days that never were."""

from __future__ import annotations

from datetime import UTC, datetime

from teahouse.demo.answers import Books, OrderSeen, Reserved
from teahouse.demo.ledger import Ask, Kind, Late, Ledger, Probe, Reply, Twins
from teahouse.demo.talk import Heard, Push

DUE = datetime(2026, 5, 1, 12, 0, 5, tzinfo=UTC)


def books(remaining: int, reserved: int, sold: int, *, initial: int = 3, difference: int = 0) -> Books:
    return Books(initial, remaining, reserved, sold, reserved + sold, difference)


def accept(ledger: Ledger, buyer: int, order_id: str, status: str, *, resold: bool = False) -> None:
    """A purchase that was accepted, what its buyer is told of it, and the order as they read it in the end."""
    ledger.accepted(buyer, Reserved(order_id, "s", 1, 1900, "reserved", DUE), resold=resold)
    ledger.orders[order_id] = (buyer, OrderSeen(order_id, "s", 1, status, DUE))
    ledger.talk.pushes.append(Push(buyer, order_id, status, DUE.timestamp() + 0.02))
    ledger.talk.heard[order_id, status] = Heard(by_push=True, seconds=0.02)


def chat(ledger: Ledger) -> None:
    """Five buyers in the room; one of them says something, then the shop does."""
    talk = ledger.talk
    talk.wanted = talk.sockets = 5
    talk.by_the_shop = 1
    talk.tally.say("m1", 0, 5, 1.0)
    talk.tally.say("shop-2", 5, 6, 2.0)
    talk.acknowledge("m1", 1, 1.001)
    talk.acknowledge("shop-2", 2, 2.001)
    for place in range(1, 5):
        talk.deliver("m1", 1, place, 1.002)
    for place in range(5):
        talk.deliver("shop-2", 2, place, 2.002)


def a_good_day() -> Ledger:
    """Five buyers, three items: two paid at once, one vanished, and the third item was sold again."""
    ledger = Ledger(buyers=5, stock=3, limit=1)
    accept(ledger, 0, "a", "paid")
    accept(ledger, 1, "b", "paid")
    accept(ledger, 2, "c", "expired")
    accept(ledger, 3, "d", "paid", resold=True)
    ledger.refusal(Ask.RUSH, 409, "sold-out")
    ledger.refusal(Ask.EARLY, 409, "sale-not-started")
    ledger.twins.append(Twins("Asked twice", Reply(202, "", b"{}"), Reply(202, "", b"{}")))
    ledger.twins.append(Twins("Asked twice", Reply(409, "sold-out", b"1"), Reply(409, "sold-out", b"2")))
    ledger.probes.append(Probe("A forged access token", "401 access-token-invalid", "401 access-token-invalid"))
    ledger.late.append(Late("refund-due", 0, 0))
    chat(ledger)
    ledger.unmet = 1
    ledger.rush_books = books(0, 3, 0)
    ledger.rush_purchases, ledger.rush_seconds = 5, 0.5
    ledger.books += [books(3, 0, 0), books(0, 3, 0), books(0, 1, 2), books(1, 0, 2), books(0, 0, 3)]
    for milliseconds in range(1, 101):
        ledger.answered(Kind.PURCHASE, milliseconds / 1000, 0.0)
    return ledger
