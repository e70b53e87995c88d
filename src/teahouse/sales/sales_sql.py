"""Sales and their counters in SQL, and the ledger's own version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Integer,
    Row,
    String,
    Table,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.engines.sql import metadata
from teahouse.sales.model import Sale, Tally

sales = Table(
    "sales",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("product_id", String(32), ForeignKey("products.id"), nullable=False),
    Column("price", BigInteger, nullable=False, comment="fen"),
    Column("starts_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("per_buyer_limit", BigInteger, nullable=False),
    Column("pay_within_seconds", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("initial", BigInteger, nullable=False),
    Column("remaining", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("sold", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False, server_default="0", comment="of the counters, where Redis decides"),
    # No check on "remaining": where a hand in the database oversold, returns must still be possible.
    CheckConstraint("remaining + reserved + sold = initial", name="sum"),
    CheckConstraint("reserved >= 0 AND sold >= 0", name="counts"),
)

# One row: the name of the batch written last. It tells whether a batch whose commit failed is in, and whether anybody
# else has written since.
stock_ledger = Table(
    "stock_ledger",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("batch", String(32), nullable=False),
    Column("keeper", String(8), nullable=False, server_default="sql", comment="who decides about stock: sql or redis"),
)

_ROW = 1
_last = select(stock_ledger.c.batch).where(stock_ledger.c.id == _ROW)
_open = insert(sales)
_sign = (
    update(stock_ledger)
    .where(stock_ledger.c.id == _ROW, stock_ledger.c.batch == bindparam("last"))
    .values(batch=bindparam("next"))
)
_count = (
    update(sales)
    .where(sales.c.id == bindparam("sale"))
    .values(
        initial=bindparam("initial"),
        remaining=bindparam("remaining"),
        reserved=bindparam("reserved"),
        sold=bindparam("sold"),
    )
)


async def read_batch(connection: AsyncConnection) -> str | None:
    """The name of the batch written last; None before the ledger's first start."""
    batch: str | None = await connection.scalar(_last)
    return batch


async def read_keeper(connection: AsyncConnection) -> str:
    """Who decides about stock: ``sql`` or ``redis``."""
    keeper: str | None = await connection.scalar(select(stock_ledger.c.keeper).where(stock_ledger.c.id == _ROW))
    return keeper or "sql"


def write_keeper(connection: Connection, keeper: str) -> None:
    """From now on that one decides."""
    values = {"keeper": keeper}
    if connection.execute(update(stock_ledger).where(stock_ledger.c.id == _ROW).values(values)).rowcount == 0:
        connection.execute(insert(stock_ledger), [{"id": _ROW, "batch": "", **values}])


def write_first_batch(connection: Connection, name: str) -> None:
    """Makes the one row, where there is none."""
    if connection.scalar(_last) is None:
        connection.execute(insert(stock_ledger), [{"id": _ROW, "batch": name}])


def sign_batch(connection: Connection, *, last: str, name: str) -> bool:
    """Names this transaction's batch; False when ``last`` is no longer the last one."""
    return connection.execute(_sign, {"last": last, "next": name}).rowcount == 1


def sale_row(sale: Sale) -> dict[str, Any]:
    """A new sale, all of its stock remaining, as ``write_sales`` takes it."""
    row = {name: getattr(sale, name) for name in Sale.__struct_fields__ if name != "stock"}
    return row | {"initial": sale.stock, "remaining": sale.stock, "reserved": 0, "sold": 0}


def write_sales(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """New sales."""
    connection.execute(_open, rows)


def tally_row(sale_id: str, tally: Tally) -> dict[str, Any]:
    """The sale's counters as ``write_tallies`` takes them."""
    return {
        "sale": sale_id,
        "initial": tally.initial,
        "remaining": tally.remaining,
        "reserved": tally.reserved,
        "sold": tally.sold,
    }


def write_tallies(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """The counters of each sale as they are now."""
    connection.execute(_count, rows)


async def read_sales(connection: AsyncConnection, sale_id: str | None = None) -> list[tuple[Sale, Tally]]:
    """Every sale, or one, with its counters, oldest first."""
    query = select(sales).order_by(sales.c.id)
    if sale_id is not None:
        query = query.where(sales.c.id == sale_id)
    return [_sale(row) for row in await connection.execute(query)]


def _sale(row: Row[*tuple[Any, ...]]) -> tuple[Sale, Tally]:
    values = row._asdict()
    del values["seq"]
    tally = Tally(**{name: values.pop(name) for name in Tally.__struct_fields__})
    return Sale(stock=tally.initial, **values), tally
