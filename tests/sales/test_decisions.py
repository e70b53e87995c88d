"""A batch whose commands do not all make sense: each gets its own answer, and none spoils the others."""

from __future__ import annotations

from teahouse.problems import NotFound
from teahouse.sales.decisions import Decisions, Known
from teahouse.sales.model import Open, Reservation, Reserve, Restock, Sale
from teahouse.sales.stock import Book
from tests.clocks import ManualClock


def test_a_sale_that_was_taken_back_spoils_no_other_purchase_of_its_batch():
    clock = ManualClock()
    now = clock.now_ms()
    sale = Sale(
        id=clock.new_id(),
        product_id=clock.new_id(),
        stock=10,
        price=1,
        starts_at=now,
        ends_at=now + 1000,
        per_buyer_limit=1,
        pay_within_seconds=60,
        created_at=now,
    )
    gone, buyer = clock.new_id(), clock.new_id()

    _, unknown, restocked, bought = Decisions(Book(), Known(), clock).take(
        [Open(sale), Reserve(gone, buyer, "k", 1), Restock(gone, 5), Reserve(sale.id, buyer, "k", 1)]
    )

    assert isinstance(unknown, NotFound)
    assert isinstance(restocked, NotFound)
    assert isinstance(bought, Reservation)
