"""Payments in SQL. Only the stock ledger writes them, in the transaction that moves the stock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Row, String, Table, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.engines.sql import metadata
from teahouse.sales.columns_sql import exact
from teahouse.sales.model import Payment

# No foreign key: money for an order nobody knows is recorded all the same.
payments = Table(
    "payments",
    metadata,
    Column("transaction_id", exact(64), primary_key=True),
    Column("order_id", String(64), nullable=False, index=True),
    Column("amount", BigInteger, nullable=False, comment="fen"),
    Column("state", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("received_at", BigInteger, nullable=False),
)

_CHUNK = 500
_insert = insert(payments)


def payment_rows(received: Sequence[Payment]) -> list[dict[str, Any]]:
    """New payments as ``write_payments`` takes them."""
    return [msgspec.structs.asdict(payment) for payment in received]


def write_payments(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """New payments; ``IntegrityError`` when a transaction id is used already."""
    connection.execute(_insert, rows)


async def read_payments(connection: AsyncConnection, transaction_ids: Sequence[str]) -> dict[str, Payment]:
    """The payments with these transaction ids that there are."""
    found: dict[str, Payment] = {}
    for start in range(0, len(transaction_ids), _CHUNK):
        query = select(payments).where(payments.c.transaction_id.in_(transaction_ids[start : start + _CHUNK]))
        found |= {row[0]: _payment(row) for row in await connection.execute(query)}
    return found


def _payment(row: Row[*tuple[Any, ...]]) -> Payment:
    return Payment(*row)
