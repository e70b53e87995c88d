"""The shop's long memory in SQL, for a ledger that decides elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Row, Select, insert, select, tuple_, update

from teahouse.engines.sql import Database
from teahouse.sales.archive import Archived, ArchivedAudit, Entry, Keeper, OrderRow, Refused
from teahouse.sales.model import Payment, Reserve, Sale, Tally
from teahouse.sales.orders_sql import orders
from teahouse.sales.payments_sql import read_payments
from teahouse.sales.reconciliation_sql import examine
from teahouse.sales.recording_sql import REFUSALS, record_all, record_one_by_one
from teahouse.sales.sales_sql import read_keeper, sale_row, sales, write_keeper

_CHUNK = 500
_STREAM_CHUNK = 2000
_UNOPENED = -1
_columns = (
    orders.c.id,
    orders.c.sale_id,
    orders.c.buyer_id,
    orders.c.idempotency_key,
    orders.c.quantity,
    orders.c.amount,
    orders.c.status,
    orders.c.created_at,
    orders.c.pay_before,
    orders.c.changed_at,
    orders.c.version,
)


class SqlArchive:
    """An ``Archive``. Its own pages may come from a replica; whatever decides about an order reads the primary."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keeper(self) -> Keeper:
        """See ``Archive``."""
        async with self._database.reading() as connection:
            return "redis" if await read_keeper(connection) == "redis" else "sql"

    async def is_above_sql(self) -> bool:
        """Whether Redis has decided before, so that one that knows nothing has been emptied."""
        return await self.keeper() == "redis"

    async def hand_over(self, keeper: Keeper) -> None:
        """See ``Archive``."""
        await self._database.write(partial(write_keeper, keeper=keeper))

    # --- sales ---

    async def sales(self, ids: Sequence[str]) -> dict[str, Archived]:
        """See ``Archive``."""
        found: dict[str, Archived] = {}
        async with self._database.reading() as connection:
            for start in range(0, len(ids), _CHUNK):
                query = select(sales).where(sales.c.id.in_(ids[start : start + _CHUNK]))
                found |= {row.id: _archived(row) for row in await connection.execute(query)}
        return found

    async def newest(self, *, before: str | None, limit: int) -> list[Archived]:
        """See ``Archive``."""
        query = select(sales).order_by(sales.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(sales.c.id < before)
        async with self._database.reading() as connection:
            return [_archived(row) for row in await connection.execute(query)]

    async def add(self, sale: Sale) -> None:
        """See ``Archive``."""
        row = sale_row(sale) | {"seq": _UNOPENED}
        async with self._database.transaction() as connection:
            await connection.execute(insert(sales), [row])

    async def opened(self, sale_id: str) -> None:
        """See ``Archive``."""
        statement = update(sales).where(sales.c.id == sale_id, sales.c.seq == _UNOPENED).values(seq=0)
        async with self._database.transaction() as connection:
            await connection.execute(statement)

    # --- orders and payments ---

    async def orders(self, ids: Sequence[str]) -> dict[str, OrderRow]:
        """See ``Archive``."""
        found: dict[str, OrderRow] = {}
        async with self._database.reading() as connection:
            for start in range(0, len(ids), _CHUNK):
                query = select(*_columns).where(orders.c.id.in_(ids[start : start + _CHUNK]))
                found |= {row[0]: OrderRow(*row) for row in await connection.execute(query)}
        return found

    async def order(self, order_id: str, buyer_id: str) -> OrderRow | None:
        """See ``Archive``."""
        query = select(*_columns).where(orders.c.id == order_id, orders.c.buyer_id == buyer_id)
        async with self._database.reading(buyer_id) as connection:
            row = (await connection.execute(query)).first()
        return OrderRow(*row) if row else None

    async def page(self, buyer_id: str, *, before: str | None, limit: int) -> list[OrderRow]:
        """See ``Archive``."""
        query = select(*_columns).where(orders.c.buyer_id == buyer_id).order_by(orders.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(orders.c.id < before)
        async with self._database.reading(buyer_id) as connection:
            return [OrderRow(*row) for row in await connection.execute(query)]

    async def recall(self, asks: Sequence[Reserve]) -> list[OrderRow | None]:
        """See ``Archive``."""
        slot = tuple_(orders.c.buyer_id, orders.c.sale_id, orders.c.idempotency_key)
        found: dict[tuple[str, str, str], OrderRow] = {}
        async with self._database.reading() as connection:
            for start in range(0, len(asks), _CHUNK):
                wanted = [(ask.buyer_id, ask.sale_id, ask.key) for ask in asks[start : start + _CHUNK]]
                for row in await connection.execute(select(*_columns).where(slot.in_(wanted))):
                    found[row[2], row[1], row[3]] = OrderRow(*row)
        return [found.get((ask.buyer_id, ask.sale_id, ask.key)) for ask in asks]

    async def payments(self, transaction_ids: Sequence[str]) -> dict[str, Payment]:
        """See ``Archive``."""
        async with self._database.reading() as connection:
            return await read_payments(connection, transaction_ids)

    async def orders_of(self, sale_id: str) -> AsyncIterator[list[OrderRow]]:
        """See ``Archive``; page by page, so that no cursor is held open."""
        after = ""
        while True:
            async with self._database.reading() as connection:
                rows = [OrderRow(*row) for row in await connection.execute(_page_of(sale_id, after))]
            if rows:
                yield rows
            if len(rows) < _STREAM_CHUNK:
                return
            after = rows[-1].id

    async def audit(self, sale_id: str) -> ArchivedAudit | None:
        """See ``Archive``."""
        async with self._database.reading() as connection:
            seq = await connection.scalar(select(sales.c.seq).where(sales.c.id == sale_id))
            if seq is None:
                return None
            return ArchivedAudit(await examine(connection, sale_id, None), seq)

    # --- recording ---

    async def record(self, entries: Sequence[Entry]) -> list[Refused]:
        """See ``Archive``."""
        try:
            return await self._database.write(lambda connection: record_all(connection, entries))
        except REFUSALS:
            # One row spoils the whole: each on its own, and what SQL will never take is told.
            return await record_one_by_one(self._database, entries)


def _page_of(sale_id: str, after: str) -> Select[*tuple[Any, ...]]:
    after_it = (orders.c.sale_id == sale_id, orders.c.id > after)
    return select(*_columns).where(*after_it).order_by(orders.c.id).limit(_STREAM_CHUNK)


def _archived(row: Row[*tuple[Any, ...]]) -> Archived:
    values = row._asdict()
    seq = values.pop("seq")
    tally = Tally(**{name: values.pop(name) for name in Tally.__struct_fields__})
    return Archived(Sale(stock=tally.initial, **values), tally, seq)
