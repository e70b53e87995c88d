"""Products through the cache."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from teahouse.caching import MISSING, Cache
from teahouse.engines.sql import Database
from teahouse.sales import Product
from teahouse.sales.catalogue_cached import CatalogueCached, weigh_product
from teahouse.sales.catalogue_sql import SqlCatalogue
from tests.clocks import ManualClock

TEA = Product("a" * 32, "Tea", "green", ("/tea.png",), 1900, 1, 1)


@pytest.fixture
async def sql(tmp_path: Path) -> AsyncIterator[SqlCatalogue]:
    database = Database(f"sqlite:///{tmp_path / 'teahouse.db'}")
    await database.connect()
    await database.create_all()
    yield SqlCatalogue(database)
    await database.aclose()


@pytest.fixture
def cache(sql: SqlCatalogue) -> Cache[Product]:
    return Cache(sql.load, name="product", clock=ManualClock(), weigh=weigh_product)


@pytest.fixture
def catalogue(sql: SqlCatalogue, cache: Cache[Product]) -> CatalogueCached:
    return CatalogueCached(sql, cache)


async def test_a_product_is_known_after_the_first_look_and_new_after_each_change(
    catalogue: CatalogueCached, cache: Cache[Product]
) -> None:
    await catalogue.add(TEA)
    assert await catalogue.get(TEA.id) == TEA
    assert cache.cached(TEA.id) == TEA
    dearer = msgspec.structs.replace(TEA, price=2900)
    assert await catalogue.replace(dearer) == dearer
    assert cache.cached(TEA.id) is None
    assert await catalogue.get(TEA.id) == dearer


async def test_a_product_that_was_looked_for_too_early_is_found_once_added(
    catalogue: CatalogueCached, cache: Cache[Product]
) -> None:
    assert await catalogue.get(TEA.id) is None
    assert cache.cached(TEA.id) is MISSING
    assert await catalogue.replace(TEA) is None
    await catalogue.add(TEA)
    assert await catalogue.get(TEA.id) == TEA


async def test_pages_are_read_anew(catalogue: CatalogueCached, sql: SqlCatalogue, cache: Cache[Product]) -> None:
    await sql.add(TEA)
    assert await catalogue.page(before=None, limit=10) == [TEA]
    assert len(cache.local) == 0
