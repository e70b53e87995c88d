"""Orders in SQL. Only the stock ledger writes them; anybody may read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Row,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.engines.sql import Database, metadata
from teahouse.sales.columns_sql import exact
from teahouse.sales.model import PAID, RESERVED, Order, OrderStatus, Reservation, Reserve

# An order's id rises with time, so the first index stays compact; the unique one also serves a buyer's own list.
orders = Table(
    "orders",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("sale_id", String(32), nullable=False),
    Column("buyer_id", String(32), nullable=False),
    Column("idempotency_key", exact(64), nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False, comment="fen"),
    Column("status", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("pay_before", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="1", comment="rises by one with each change"),
    Index("ix_orders_sale_id_id", "sale_id", "id"),
    UniqueConstraint("buyer_id", "sale_id", "idempotency_key"),
)

_CHUNK = 500
_STREAM_CHUNK = 4096
_columns = (
    orders.c.id,
    orders.c.sale_id,
    orders.c.buyer_id,
    orders.c.quantity,
    orders.c.amount,
    orders.c.created_at,
    orders.c.pay_before,
    orders.c.status,
    orders.c.changed_at,
    orders.c.idempotency_key,
)
_insert = insert(orders)
_move = (
    update(orders)
    .where(orders.c.id == bindparam("order"), orders.c.status == bindparam("before"))
    .values(status=bindparam("after"), changed_at=bindparam("now"), version=orders.c.version + 1)
)

Stored = tuple[Reservation, str, OrderStatus]


class SqlOrders:
    """What buyers may read of their orders. Raises ``DatabaseUnavailable``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, order_id: str, buyer_id: str) -> Order | None:
        """The buyer's own order; None for anybody else's."""
        query = select(*_columns).where(orders.c.id == order_id, orders.c.buyer_id == buyer_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        return _order(row) if row else None

    async def page(self, buyer_id: str, *, before: str | None, limit: int) -> list[Order]:
        """Up to ``limit`` of the buyer's orders, newest first, older than the order ``before``."""
        query = select(*_columns).where(orders.c.buyer_id == buyer_id).order_by(orders.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(orders.c.id < before)
        async with self._database.reading() as connection:
            return [_order(row) for row in await connection.execute(query)]

    async def recall(self, asks: Sequence[Reserve]) -> list[Reservation | None]:
        """The orders that were made under the same keys, for each ask in turn."""
        slot = tuple_(orders.c.buyer_id, orders.c.sale_id, orders.c.idempotency_key)
        found: dict[tuple[str, str], Reservation] = {}
        async with self._database.reading() as connection:
            for start in range(0, len(asks), _CHUNK):
                wanted = [(ask.buyer_id, ask.sale_id, ask.key) for ask in asks[start : start + _CHUNK]]
                for row in await connection.execute(select(*_columns).where(slot.in_(wanted))):
                    reservation = _reservation(row)
                    found[reservation.sale_id, f"{reservation.buyer_id} {row[9]}"] = reservation
        return [found.get((ask.sale_id, ask.slot)) for ask in asks]


def placed_rows(placed: Iterable[tuple[str, Reservation]], status: str) -> list[dict[str, Any]]:
    """New orders, each with its slot (buyer, a space, key), as ``write_placed`` takes them."""
    return [_row(slot, reservation, status) for slot, reservation in placed]


def write_placed(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """New orders; ``IntegrityError`` when a key is used already."""
    connection.execute(_insert, rows)


def write_moves(connection: Connection, moves: Sequence[dict[str, Any]]) -> bool:
    """Each of ``{order, before, after, now}``, in order; False when an order was not in the status expected."""
    if connection.dialect.name == "postgresql":
        # Its driver counts no rows of a statement that is carried out for many.
        return all(connection.execute(_move, move).rowcount == 1 for move in moves)
    return connection.execute(_move, moves).rowcount == len(moves)


async def read_orders(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, Order]:
    """The orders with these ids that there are."""
    found: dict[str, Order] = {}
    for start in range(0, len(ids), _CHUNK):
        query = select(*_columns).where(orders.c.id.in_(ids[start : start + _CHUNK]))
        found |= {row[0]: _order(row) for row in await connection.execute(query)}
    return found


async def read_held(connection: AsyncConnection, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """By sale and buyer, for those ``wanted``: the units that they hold or have bought."""
    found: dict[tuple[str, str], int] = {}
    pairs = sorted(wanted)
    for start in range(0, len(pairs), _CHUNK):
        query = (
            select(orders.c.sale_id, orders.c.buyer_id, func.sum(orders.c.quantity))
            .where(
                tuple_(orders.c.sale_id, orders.c.buyer_id).in_(pairs[start : start + _CHUNK]),
                orders.c.status.in_((RESERVED, PAID)),
            )
            .group_by(orders.c.sale_id, orders.c.buyer_id)
        )
        found |= {(sale_id, buyer_id): int(units) for sale_id, buyer_id, units in await connection.execute(query)}
    return found


async def stream_orders(connection: AsyncConnection, sale_id: str) -> AsyncIterator[list[Stored]]:
    """Every order of a sale with its key and status, oldest first, in chunks of bounded size."""
    # A statement for each chunk: a server may take only so long for one, and a cursor would be one for all of them.
    of_sale = select(*_columns).where(orders.c.sale_id == sale_id).order_by(orders.c.id).limit(_STREAM_CHUNK)
    query = of_sale
    while rows := (await connection.execute(query)).all():
        yield [(Reservation(*row[:7]), row[9], row[7]) for row in rows]
        query = of_sale.where(orders.c.id > rows[-1][0])


async def count_units(connection: AsyncConnection, sale_id: str | None = None) -> dict[str, dict[str, int]]:
    """For each sale (or one): how many units its orders hold, by status."""
    query = select(orders.c.sale_id, orders.c.status, func.sum(orders.c.quantity)).group_by(
        orders.c.sale_id, orders.c.status
    )
    if sale_id is not None:
        query = query.where(orders.c.sale_id == sale_id)
    units: dict[str, dict[str, int]] = {}
    for sale, status, quantity in await connection.execute(query):
        units.setdefault(sale, {})[status] = int(quantity)
    return units


def _row(slot: str, reservation: Reservation, status: str) -> dict[str, Any]:
    return {
        "id": reservation.id,
        "sale_id": reservation.sale_id,
        "buyer_id": reservation.buyer_id,
        "idempotency_key": slot[len(reservation.buyer_id) + 1 :],
        "quantity": reservation.quantity,
        "amount": reservation.amount,
        "status": status,
        "created_at": reservation.created_at,
        "pay_before": reservation.pay_before,
        "changed_at": reservation.created_at,
    }


def _reservation(row: Row[*tuple[Any, ...]]) -> Reservation:
    return Reservation(*row[:7])


def _order(row: Row[*tuple[Any, ...]]) -> Order:
    return Order(_reservation(row), row[7], row[8])
