"""From the ledger's log into SQL: many orders in one statement, whose rows travel as the JSON text they were made as.

Python hands the rows on without touching them one by one: the database takes the JSON apart (``JSON_TABLE`` in MySQL 8
and MariaDB 10.6, ``json_array_elements`` in PostgreSQL, ``json_each`` in SQLite).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, TextClause, bindparam, text, update
from sqlalchemy.exc import DataError, IntegrityError

from teahouse.engines.sql import Database
from teahouse.sales.archive import Entry, OrderRow, PaymentRow, Refused
from teahouse.sales.payments_sql import payments
from teahouse.sales.sales_sql import sales

_ORDER_COLUMNS = (
    ("id", "VARCHAR(32)"),
    ("sale_id", "VARCHAR(32)"),
    ("buyer_id", "VARCHAR(32)"),
    ("idempotency_key", "VARCHAR(64)"),
    ("quantity", "BIGINT"),
    ("amount", "BIGINT"),
    ("status", "VARCHAR(16)"),
    ("created_at", "BIGINT"),
    ("pay_before", "BIGINT"),
    ("changed_at", "BIGINT"),
    ("version", "BIGINT"),
)
_PAYMENT_COLUMNS = (
    ("transaction_id", "VARCHAR(64)"),
    ("order_id", "VARCHAR(64)"),
    ("amount", "BIGINT"),
    ("state", "VARCHAR(16)"),
    ("reason", "VARCHAR(32)"),
    ("received_at", "BIGINT"),
)
Columns = Sequence[tuple[str, str]]


class Conflicting(Exception):
    """A row cannot be taken beside those that are there."""


# What a row itself is to blame for, and asking again would not mend.
REFUSALS = (IntegrityError, DataError, Conflicting, msgspec.DecodeError)

_read_orders = msgspec.json.Decoder(list[OrderRow]).decode
_read_payments = msgspec.json.Decoder(list[PaymentRow]).decode
_count = (
    update(sales)
    .where(sales.c.id == bindparam("sale"), sales.c.seq < bindparam("to"))
    .values(
        initial=bindparam("new_initial"),
        remaining=bindparam("new_remaining"),
        reserved=bindparam("new_reserved"),
        sold=bindparam("new_sold"),
        seq=bindparam("to"),
    )
)


def record_all(connection: Connection, entries: Sequence[Entry]) -> list[Refused]:
    """Everything in one transaction; raises one of ``REFUSALS`` where a row cannot be taken."""
    rows = _joined(each.orders for each in entries)
    if rows != "[]":
        # A row that no database could read must be found here: some say of it only that they are not well.
        _read_orders(rows)
        _write_orders(connection, rows)
    paid = _joined(each.payments for each in entries)
    if paid != "[]":
        _write_payments(connection, paid)
    tallies = _tallies(entries)
    if tallies:
        connection.execute(_count, tallies)
    return []


async def record_one_by_one(database: Database, entries: Sequence[Entry]) -> list[Refused]:
    """Each row in a transaction of its own; returns those that were refused."""
    refused: list[Refused] = []
    for entry in entries:
        for piece in _pieces(entry, refused):
            try:
                await database.write(partial(record_all, entries=[piece]))
            except REFUSALS as error:
                refused.append(Refused(piece.id, piece.orders or piece.payments, _reason(error)))
    return refused


def _pieces(entry: Entry, refused: list[Refused]) -> list[Entry]:
    """The entry as one for each row, and one for its counters."""
    only = msgspec.structs.replace(entry, orders="", payments="")
    pieces = []
    for name, read in (("orders", _read_orders), ("payments", _read_payments)):
        text_of_rows: str = getattr(entry, name)
        try:
            found: Sequence[Any] = read(f"[{text_of_rows}]")
        except msgspec.DecodeError as error:
            refused.append(Refused(entry.id, text_of_rows, _reason(error)))
            continue
        pieces += [
            msgspec.structs.replace(only, sale_id="", id=row_id(row), **{name: msgspec.json.encode(row).decode()})
            for row in found
        ]
    return [*pieces, only]


def row_id(row: OrderRow | PaymentRow) -> str:
    """What a row is known by."""
    return row.id if isinstance(row, OrderRow) else row.transaction_id


def _reason(error: Exception) -> str:
    # The driver's own words; SQLAlchemy's would repeat the statement with all its rows.
    return str(getattr(error, "orig", None) or error)[:500]


def _joined(parts: Any) -> str:
    return "[" + ",".join(part for part in parts if part) + "]"


def _tallies(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    latest: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda each: each.seq):
        if entry.sale_id:
            latest[entry.sale_id] = entry
    return [
        {
            "sale": sale_id,
            "to": entry.seq,
            "new_initial": entry.tally.initial,
            "new_remaining": entry.tally.remaining,
            "new_reserved": entry.tally.reserved,
            "new_sold": entry.tally.sold,
        }
        # In one order on every node, so that two never wait for each other.
        for sale_id, entry in sorted(latest.items())
    ]


def _write_orders(connection: Connection, rows: str) -> None:
    if connection.dialect.name not in _MYSQL:
        connection.execute(_ORDERS[connection.dialect.name], {"rows": rows})
        return
    connection.execute(_MYSQL_ROWS, {"rows": rows})
    connection.execute(_MYSQL_ORDERS)


def _write_payments(connection: Connection, rows: str) -> None:
    wanted = {row.transaction_id: row for row in _read_payments(rows)}
    if connection.dialect.name in _MYSQL:
        connection.execute(_MYSQL_ROWS, {"rows": rows})
        connection.execute(_MYSQL_PAYMENTS)
    else:
        connection.execute(_PAYMENTS[connection.dialect.name], {"rows": rows})
    query = payments.select().where(payments.c.transaction_id.in_(list(wanted)))
    for found in connection.execute(query):
        row = wanted[found.transaction_id]
        if (found.order_id, found.amount) != (row.order_id, row.amount):
            raise Conflicting("the transaction has paid something else")


# --- the statements ---


def _json_table(columns: Columns) -> str:
    # Unsaid, it is the database's own character set, and what that lacks would be lost without an error.
    texts = {kind: f"{kind} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" for _, kind in columns if "CHAR" in kind}
    paths = ", ".join(f"{name} {texts.get(kind, kind)} PATH '$[{place}]'" for place, (name, kind) in enumerate(columns))
    return f"JSON_TABLE(@teahouse_rows, '$[*]' COLUMNS ({paths})) AS new"


def _names(columns: Columns, before: str = "") -> str:
    return ", ".join(before + name for name, _ in columns)


def _mysql(table: str, columns: Columns, duplicate: str) -> TextClause:
    return text(
        f"INSERT INTO {table} ({_names(columns)}) SELECT {_names(columns, 'new.')} FROM {_json_table(columns)} "  # noqa: S608  # constants only
        f"ON DUPLICATE KEY UPDATE {duplicate}"
    )


def _postgresql(table: str, columns: Columns, latest: str, conflict: str) -> TextClause:
    values = ", ".join(f"CAST(each->>{place} AS {kind}) AS {name}" for place, (name, kind) in enumerate(columns))
    key = columns[0][0]
    return text(
        f"INSERT INTO {table} ({_names(columns)}) SELECT DISTINCT ON ({key}) {_names(columns)} FROM "  # noqa: S608  # constants only
        f"(SELECT {values} FROM json_array_elements(CAST(:rows AS json)) AS each) AS new ORDER BY {key}, {latest} DESC "
        f"ON CONFLICT ({key}) {conflict}"
    )


def _sqlite(table: str, columns: Columns, conflict: str) -> TextClause:
    values = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(columns)))
    return text(
        f"INSERT INTO {table} ({_names(columns)}) SELECT {values} FROM json_each(:rows) WHERE true "  # noqa: S608  # constants only
        f"ON CONFLICT ({columns[0][0]}) {conflict}"
    )


_MYSQL = ("mysql", "mariadb")
_MYSQL_ROWS = text("SET @teahouse_rows = :rows")
# MySQL works these out from left to right, so the version that is compared comes last.
# It also takes any unique key for the row's own: where another order has this buyer's key, the id that becomes NULL is
# refused.
_NEWER_IN_MYSQL = (
    "id = IF(orders.id = new.id, orders.id, NULL), "
    "status = IF(new.version > orders.version, new.status, orders.status), "
    "changed_at = IF(new.version > orders.version, new.changed_at, orders.changed_at), "
    "version = GREATEST(new.version, orders.version)"
)
_NEWER = (
    "DO UPDATE SET status = excluded.status, changed_at = excluded.changed_at, version = excluded.version "
    "WHERE excluded.version > orders.version"
)
_MYSQL_ORDERS = _mysql("orders", _ORDER_COLUMNS, _NEWER_IN_MYSQL)
_MYSQL_PAYMENTS = _mysql("payments", _PAYMENT_COLUMNS, "transaction_id = payments.transaction_id")
_ORDERS = {
    "postgresql": _postgresql("orders", _ORDER_COLUMNS, "version", _NEWER),
    "sqlite": _sqlite("orders", _ORDER_COLUMNS, _NEWER),
}
_PAYMENTS = {
    "postgresql": _postgresql("payments", _PAYMENT_COLUMNS, "received_at", "DO NOTHING"),
    "sqlite": _sqlite("payments", _PAYMENT_COLUMNS, "DO NOTHING"),
}
