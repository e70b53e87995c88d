"""Products in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Row, String, Table, Text, insert, select, update

from teahouse.engines.sql import ANYBODY, Database, metadata
from teahouse.sales.model import Product

products = Table(
    "products",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("description", Text, nullable=False),
    Column("images", Text, nullable=False, comment="a JSON list of addresses"),
    Column("price", BigInteger, nullable=False, comment="fen"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)


class SqlCatalogue:
    """The products on offer. Raises ``DatabaseUnavailable``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, product: Product) -> None:
        """Stores a new product."""
        async with self._database.transaction() as connection:
            await connection.execute(insert(products), [_values(product)])

    async def replace(self, product: Product) -> Product | None:
        """Stores the product in the place of the one with its id, which keeps its ``created_at``; None without one."""
        values = _values(product)
        del values["id"], values["created_at"]
        async with self._database.transaction() as connection:
            result = await connection.execute(update(products).where(products.c.id == product.id).values(values))
            if result.rowcount == 0:
                return None
            row = (await connection.execute(select(products).where(products.c.id == product.id))).one()
        return _product(row)

    async def get(self, product_id: str) -> Product | None:
        """One product."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(products).where(products.c.id == product_id))).first()
        return _product(row) if row else None

    async def load(self, product_ids: Sequence[str], *, fresh: bool) -> list[Product | None]:
        """For a cache: each product in order, None where there is none; not ``fresh`` may be as a replica has it."""
        async with self._database.reading(None if fresh else ANYBODY) as connection:
            rows = (await connection.execute(select(products).where(products.c.id.in_(product_ids)))).all()
        found = {row.id: _product(row) for row in rows}
        return [found.get(product_id) for product_id in product_ids]

    async def page(self, *, before: str | None, limit: int) -> list[Product]:
        """Up to ``limit`` products, newest first, older than the product ``before``."""
        query = select(products).order_by(products.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(products.c.id < before)
        async with self._database.reading() as connection:
            return [_product(row) for row in await connection.execute(query)]


def _values(product: Product) -> dict[str, object]:
    values = msgspec.structs.asdict(product)
    values["images"] = msgspec.json.encode(product.images).decode()
    return values


def _product(row: Row[*tuple[Any, ...]]) -> Product:
    values = row._asdict()
    values["images"] = msgspec.json.decode(values["images"], type=tuple[str, ...])
    return Product(**values)
