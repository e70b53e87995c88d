"""The port through which buyers read their orders; the stock ledger alone writes them."""

from __future__ import annotations

from typing import Protocol

from teahouse.sales.model import Order


class Orders(Protocol):
    """What buyers may read. An order is here as soon as its buyer was told of it. May raise ``DatabaseUnavailable``."""

    async def get(self, order_id: str, buyer_id: str) -> Order | None:
        """The buyer's own order; None for anybody else's."""
        ...

    async def page(self, buyer_id: str, *, before: str | None, limit: int) -> list[Order]:
        """Up to ``limit`` of the buyer's orders, newest first, older than the order ``before``."""
        ...
