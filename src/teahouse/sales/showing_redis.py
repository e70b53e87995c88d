"""What people see of sales: the terms from the archive, the stock from Redis, those of one moment asked together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from teahouse.engines.redis import Redis
from teahouse.problems import NotFound
from teahouse.sales.archive import Archive
from teahouse.sales.keys_redis import sale_key
from teahouse.sales.model import OnSale
from teahouse.sales.purchases_redis import Purchases

_COUNTERS = ("initial", "remaining", "seq", "placed")


class Showing:
    """Reads counters into the shelves of this worker."""

    def __init__(self, redis: Redis, archive: Archive, purchases: Purchases) -> None:
        self._redis = redis
        self._archive = archive
        self._purchases = purchases

    async def read(self, keys: Sequence[str], *, fresh: bool) -> list[OnSale | None]:
        """Each sale as Redis has it now, ``fresh`` or not; None where there is no such sale."""
        del fresh  # Redis has no older copy.
        return list(await asyncio.gather(*(self._read(sale_id) for sale_id in keys)))

    async def newest(self, *, before: str | None, limit: int) -> list[OnSale]:
        """Up to ``limit`` sales, newest first, older than the sale ``before``."""
        archived = await self._archive.newest(before=before, limit=limit)
        for each in archived:
            self._purchases.shelves.add(each)
        found = await self.read([each.sale.id for each in archived], fresh=True)
        return [each for each in found if each is not None]

    async def _read(self, sale_id: str) -> OnSale | None:
        try:
            shelf = await self._purchases.shelf(sale_id)
        except NotFound:
            return None
        initial, remaining, seq, placed = await self._redis.ask("HMGET", sale_key(sale_id), *_COUNTERS)
        if seq is not None:
            shelf.initial = int(initial)
            shelf.heard(int(seq), int(remaining), int(placed))
        return shelf.on_sale()
