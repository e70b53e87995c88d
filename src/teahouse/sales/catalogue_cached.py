"""Products through a cache."""

from __future__ import annotations

from teahouse.caching import Cache
from teahouse.sales.catalogue import Catalogue
from teahouse.sales.model import Product


def weigh_product(product: Product) -> int:
    """Bytes that a product takes in memory, roughly and rather too many."""
    return 700 + 4 * (len(product.name) + len(product.description)) + sum(100 + len(image) for image in product.images)


class CatalogueCached:
    """A ``Catalogue`` whose ``get`` answers from ``cache``, as old as that promises. Pages are read anew."""

    def __init__(self, catalogue: Catalogue, cache: Cache[Product]) -> None:
        self._catalogue = catalogue
        self._cache = cache

    async def get(self, product_id: str) -> Product | None:
        """See ``Catalogue``."""
        return await self._cache.get(product_id)

    async def add(self, product: Product) -> None:
        """See ``Catalogue``."""
        await self._catalogue.add(product)
        # Somebody may have asked for it a moment too early.
        await self._cache.invalidate(product.id)

    async def replace(self, product: Product) -> Product | None:
        """See ``Catalogue``."""
        async with self._cache.changing(product.id):
            return await self._catalogue.replace(product)

    async def page(self, *, before: str | None, limit: int) -> list[Product]:
        """See ``Catalogue``."""
        return await self._catalogue.page(before=before, limit=limit)
