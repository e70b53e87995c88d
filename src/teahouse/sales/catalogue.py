"""The port of the catalogue."""

from __future__ import annotations

from typing import Protocol

from teahouse.sales.model import Product


class Catalogue(Protocol):
    """The products on offer. Each verb is atomic and may raise ``DatabaseUnavailable``."""

    async def add(self, product: Product) -> None:
        """Stores a new product."""
        ...

    async def replace(self, product: Product) -> Product | None:
        """Stores the product in the place of the one with its id, which keeps its ``created_at``; None without one."""
        ...

    async def get(self, product_id: str) -> Product | None:
        """One product."""
        ...

    async def page(self, *, before: str | None, limit: int) -> list[Product]:
        """Up to ``limit`` products, newest first, older than the product ``before``."""
        ...
