"""Compares ledger, orders and payments in SQL, explains each difference, and repairs what can be repaired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, and_, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.clock import Clock
from teahouse.engines.sql import Database
from teahouse.sales.model import PAID, RESERVED, Tally
from teahouse.sales.orders_sql import count_units, orders
from teahouse.sales.payments_sql import payments
from teahouse.sales.reconciliation import Audit, Difference, DifferenceKind, compare_counters
from teahouse.sales.sales_sql import read_batch, read_sales, sales, sign_batch, tally_row, write_tallies

# Of each kind of difference; what is beyond shows when these are repaired.
MOST_LISTED = 1000

_REFUNDED: dict[DifferenceKind, str] = {
    "payment-without-order": "unknown-order",
    "payment-of-unpaid-order": "order-lapsed",
    "paid-twice": "already-paid",
}
_RECOUNTED: Sequence[DifferenceKind] = ("reserved-differs", "sold-differs", "sum-differs")

Finding = Select[*tuple[Any, ...]]


async def reconcile(
    database: Database, *, clock: Clock, sale_id: str | None = None, repair: bool = False
) -> list[Difference]:
    """Every difference in the database (or in one sale). With ``repair``, one transaction mends what it can.

    Orders are what buyers were told, so counters follow orders, and money without an order to settle has to go back.
    Not mended, because a person has to decide: an oversold sale, a paid order without its payment, a wrong amount.
    The server must not be running on the database when ``repair`` is set.
    """
    if not repair:
        async with database.reading() as connection:
            return await _examine_all(connection, sale_id)
    async with database.transaction() as connection:
        found = await _examine_all(connection, sale_id)
        if found:
            await _repair(connection, found, sale_id, clock)
    return [each.mended() if each.kind in (*_REFUNDED, *_RECOUNTED) else each for each in found]


async def examine(connection: AsyncConnection, sale_id: str, memory: Tally | None) -> Audit:
    """One sale, as ``connection`` sees it, against ``memory``."""
    [(_, tally)] = await read_sales(connection, sale_id)
    units = (await count_units(connection, sale_id)).get(sale_id, {})
    differences = compare_counters(sale_id, tally, units, memory)
    differences += await _examine_payments(connection, sale_id)
    ordered = units.get(RESERVED, 0) + units.get(PAID, 0)
    return Audit(sale_id, memory or tally, ordered, tuple(differences))


async def _examine_all(connection: AsyncConnection, sale_id: str | None) -> list[Difference]:
    units = await count_units(connection, sale_id)
    found: list[Difference] = []
    for sale, tally in await read_sales(connection, sale_id):
        found += compare_counters(sale.id, tally, units.get(sale.id, {}), None)
    if sale_id is None:
        found += await _differences(connection, _without_sale())
        found += await _differences(connection, _without_order())
    return found + await _examine_payments(connection, sale_id)


async def _examine_payments(connection: AsyncConnection, sale_id: str | None) -> list[Difference]:
    found: list[Difference] = []
    for query in (_paid_without_payment(), _paying_an_unpaid_order(), _paid_twice(), _wrong_amount()):
        found += await _differences(connection, query if sale_id is None else query.where(orders.c.sale_id == sale_id))
    return found


async def _differences(connection: AsyncConnection, query: Finding) -> list[Difference]:
    rows = await connection.execute(query.limit(MOST_LISTED))
    return [Difference(cast("DifferenceKind", kind), id_, int(units), detail) for kind, id_, units, detail in rows]


async def _repair(connection: AsyncConnection, found: Sequence[Difference], sale_id: str | None, clock: Clock) -> None:
    # A ledger that runs all the same notices by the signature that its memory is out of date.
    last = await read_batch(connection) or ""
    await connection.run_sync(sign_batch, last=last, name=clock.new_id())
    for each in found:
        if each.kind in _REFUNDED and not await _settle_after_all(connection, each, clock):
            refund = {"state": "refund-due", "reason": _REFUNDED[each.kind]}
            await connection.execute(update(payments).where(payments.c.transaction_id == each.id).values(refund))
    units = await count_units(connection, sale_id)
    for sale, tally in await read_sales(connection, sale_id):
        held = units.get(sale.id, {})
        reserved, sold = held.get(RESERVED, 0), held.get(PAID, 0)
        counted = Tally(tally.initial, tally.initial - reserved - sold, reserved, sold)
        if counted != tally:
            await connection.run_sync(write_tallies, [tally_row(sale.id, counted)])


async def _settle_after_all(connection: AsyncConnection, each: Difference, clock: Clock) -> bool:
    """Where the order still waits for the very payment that is recorded, it is paid."""
    if each.kind != "payment-of-unpaid-order":
        return False
    payment = select(payments.c.order_id, payments.c.amount).where(payments.c.transaction_id == each.id)
    order_id, amount = (await connection.execute(payment)).one()
    waiting = (orders.c.id == order_id, orders.c.status == RESERVED, orders.c.amount == amount)
    paid = {"status": PAID, "changed_at": clock.now_ms()}
    return (await connection.execute(update(orders).where(*waiting).values(paid))).rowcount == 1


# --- each query gives kind, id, units and detail ---


def _select(kind: DifferenceKind, id_: ColumnElement[str], units: Any, detail: Any) -> Finding:
    columns = (literal(kind), id_, literal(units) if isinstance(units, int) else units)
    return select(*columns, literal(detail) if isinstance(detail, str) else detail)


_settled = payments.c.state == "settled"


def _without_sale() -> Finding:
    return (
        _select("order-without-sale", orders.c.id, orders.c.quantity, "the order's sale does not exist")
        .select_from(orders.outerjoin(sales, sales.c.id == orders.c.sale_id))
        .where(sales.c.id.is_(None))
    )


def _without_order() -> Finding:
    return (
        _select("payment-without-order", payments.c.transaction_id, 0, "settled, but the order does not exist")
        .select_from(payments.outerjoin(orders, orders.c.id == payments.c.order_id))
        .where(_settled, orders.c.id.is_(None))
    )


def _paid_without_payment() -> Finding:
    paid = orders.outerjoin(payments, and_(payments.c.order_id == orders.c.id, _settled))
    return (
        _select("paid-without-payment", orders.c.id, orders.c.quantity, "the order is paid, but no payment settled it")
        .select_from(paid)
        .where(orders.c.status == PAID, payments.c.transaction_id.is_(None))
    )


def _paying_an_unpaid_order() -> Finding:
    detail = "settled, but the order is " + orders.c.status
    return (
        _select("payment-of-unpaid-order", payments.c.transaction_id, orders.c.quantity, detail)
        .select_from(payments.join(orders, orders.c.id == payments.c.order_id))
        .where(_settled, orders.c.status != PAID)
    )


def _paid_twice() -> Finding:
    first = payments.alias("first")
    earlier = and_(
        first.c.order_id == payments.c.order_id,
        first.c.state == "settled",
        or_(
            first.c.received_at < payments.c.received_at,
            and_(first.c.received_at == payments.c.received_at, first.c.transaction_id < payments.c.transaction_id),
        ),
    )
    detail = "the order was settled before by " + func.min(first.c.transaction_id)
    return (
        _select("paid-twice", payments.c.transaction_id, orders.c.quantity, detail)
        .select_from(payments.join(first, earlier).join(orders, orders.c.id == payments.c.order_id))
        .where(_settled, orders.c.status == PAID)
        .group_by(payments.c.transaction_id, orders.c.quantity)
    )


def _wrong_amount() -> Finding:
    return (
        _select("wrong-amount", payments.c.transaction_id, orders.c.quantity, "the payment is not the order's amount")
        .select_from(payments.join(orders, orders.c.id == payments.c.order_id))
        .where(_settled, orders.c.status == PAID, payments.c.amount != orders.c.amount)
    )
