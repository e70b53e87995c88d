"""A hand in the database is found, explained by id and, where that is safe, undone."""

from __future__ import annotations

import asyncio

import pytest

from teahouse.problems import NotFound
from teahouse.sales import Tally
from teahouse.sales.reconciliation import compare_counters
from teahouse.sales.reconciliation_sql import reconcile
from tests.sales.shop import ANN, BOB


@pytest.fixture
def keeper():
    """SQL's own counters and their memory; Redis against SQL has tests of its own."""
    return "sql"


async def found(shop, **options):
    differences = await reconcile(shop.database, clock=shop.clock, **options)
    return [(each.kind, each.id, each.units, each.repaired) for each in differences]


async def test_nothing_differs_in_a_shop_that_was_left_alone(shop):
    sale = await shop.sale(limit=3, pay=60)
    paid, cancelled, _ = [await shop.buy(sale, ANN, key) for key in "123"]
    await shop.pay(paid.id)
    await shop.service.cancel(ANN, cancelled.id)
    assert await found(shop) == []
    assert await found(shop, sale_id=sale.sale.id, repair=True) == []
    audit = await shop.service.audit(sale.sale.id)
    assert (audit.tally, audit.ordered, audit.difference) == (Tally(10, 8, 1, 1), 2, 0)


async def test_an_audit_is_of_one_moment_while_the_sale_runs(shop):
    sale = await shop.sale(stock=400)
    audits, _ = await asyncio.gather(
        asyncio.gather(*(shop.service.audit(sale.sale.id) for _ in range(3))),
        asyncio.gather(*(shop.buy(sale, f"{n:032x}") for n in range(300))),
    )
    assert [audit.differences for audit in audits] == [()] * 3
    with pytest.raises(NotFound):
        await shop.service.audit("f" * 32)


async def test_counters_that_were_changed_by_hand_follow_the_orders_again(shop):
    sale = await shop.sale(stock=10, limit=2)
    await shop.buy(sale, ANN, quantity=2)
    await shop.sql("UPDATE sales SET remaining = remaining - 3, reserved = reserved + 2, sold = sold + 1")
    wanted = [("reserved-differs", sale.sale.id, 2), ("sold-differs", sale.sale.id, 1)]
    assert await found(shop) == [(*each, False) for each in wanted]
    audit = await shop.service.audit(sale.sale.id)
    assert {each.kind for each in audit.differences} == {"reserved-differs", "sold-differs", "memory-differs"}
    assert audit.difference > 0
    assert await found(shop, repair=True) == [(*each, True) for each in wanted]
    await shop.restart()
    assert await shop.tally(sale) == Tally(initial=10, remaining=8, reserved=2, sold=0)


async def test_memory_is_rebuilt_from_the_orders_even_where_the_counters_are_wrong(shop):
    sale = await shop.sale(stock=10)
    made = await shop.buy(sale, ANN)
    await shop.sql("UPDATE sales SET remaining = remaining + 1, reserved = reserved - 1")
    await shop.restart()
    assert (await shop.service.cancel(ANN, made.id)).status == "cancelled"
    assert await shop.tally(sale) == Tally(initial=10, remaining=10, reserved=0, sold=0)


async def test_an_oversold_sale_is_left_to_a_person_and_sells_no_more(shop):
    sale = await shop.sale(stock=2, limit=2)
    made = await shop.buy(sale, ANN, quantity=2)
    await shop.sql("UPDATE orders SET quantity = 3")
    kinds = {kind for kind, _, _, _ in await found(shop)}
    assert kinds == {"reserved-differs", "oversold"}
    repaired = {kind: done for kind, _, _, done in await found(shop, repair=True)}
    assert repaired == {"reserved-differs": True, "oversold": False}
    await shop.restart()
    assert (await shop.service.sale(sale.sale.id)).remaining == 0
    await shop.service.restock(sale.sale.id, 3)
    assert await found(shop) == []
    await shop.service.cancel(ANN, made.id)
    assert (await shop.tally(sale)).remaining == 3


async def test_money_without_an_order_to_settle_becomes_due_for_a_refund(shop):
    sale = await shop.sale(limit=4)
    lapsed, twice = [await shop.buy(sale, ANN, key) for key in "12"]
    await shop.pay(twice.id, transaction="a")
    await shop.service.cancel(ANN, lapsed.id)
    for name, order in (("b", twice.id), ("c", lapsed.id), ("d", "f" * 32)):
        await shop.sql(f"INSERT INTO payments VALUES ('{name}', '{order}', 300, 'settled', '', 9999999999999)")
    wanted = [("payment-without-order", "d", 0), ("payment-of-unpaid-order", "c", 1), ("paid-twice", "b", 1)]
    assert await found(shop, repair=True) == [(*each, True) for each in wanted]
    assert await found(shop) == []
    await shop.restart()
    assert [
        (await shop.pay(order, transaction=name)).reason for name, order in (("c", lapsed.id), ("b", twice.id))
    ] == [
        "order-lapsed",
        "already-paid",
    ]


async def test_an_order_that_waits_for_the_payment_on_record_is_paid(shop):
    sale = await shop.sale()
    made = await shop.buy(sale, ANN)
    await shop.sql(f"INSERT INTO payments VALUES ('t', '{made.id}', 300, 'settled', '', 1)")
    assert await found(shop, repair=True) == [("payment-of-unpaid-order", "t", 1, True)]
    await shop.restart()
    assert await shop.status(ANN, made.id) == "paid"
    assert await shop.tally(sale) == Tally(initial=10, remaining=9, reserved=0, sold=1)


async def test_a_paid_order_without_its_payment_and_a_wrong_amount_are_left_to_a_person(shop):
    sale = await shop.sale(limit=2)
    first, second = await shop.buy(sale, ANN, "1"), await shop.buy(sale, BOB, "2")
    for made in (first, second):
        await shop.pay(made.id)
    await shop.sql(f"DELETE FROM payments WHERE order_id = '{first.id}'")
    await shop.sql("UPDATE payments SET amount = 1")
    wanted = [("paid-without-payment", first.id, 1, False), ("wrong-amount", f"t-{second.id}", 1, False)]
    assert await found(shop, repair=True) == wanted
    assert await found(shop, sale_id=sale.sale.id) == wanted


async def test_an_order_of_a_sale_that_does_not_exist_is_named(shop):
    sale = await shop.sale()
    made = await shop.buy(sale, ANN)
    await shop.sql("DELETE FROM sales")
    assert await found(shop) == [("order-without-sale", made.id, 1, False)]


async def test_a_ledger_notices_that_its_tables_were_repaired(shop):
    sale = await shop.sale()
    await shop.buy(sale, ANN)
    await shop.sql("UPDATE sales SET remaining = remaining + 1, reserved = reserved - 1")
    await reconcile(shop.database, clock=shop.clock, repair=True)
    with pytest.raises(Exception, match="Nothing was changed"):
        await shop.buy(sale, BOB)
    shop.clock.advance(2)
    await shop.buy(sale, BOB)
    assert (await shop.tally(sale)).reserved == 2


def test_counters_that_do_not_add_up_are_a_difference_of_their_own():
    kinds = [each.kind for each in compare_counters("s", Tally(10, 8, 1, 0), {"reserved": 1}, None)]
    assert kinds == ["sum-differs"]
