"""A buyer's orders, where Redis has the latest of them and the archive all that are older."""

from __future__ import annotations

import asyncio

import msgspec

from teahouse.engines.redis import Redis
from teahouse.sales import keys_redis as keys
from teahouse.sales.archive import Archive, OrderRow
from teahouse.sales.model import Order
from teahouse.sales.scripts_redis import Scripts

_read_row = msgspec.json.Decoder(OrderRow).decode


class RedisOrders:
    """``Orders`` over both. Each order is here as soon as its buyer was told, whether or not it is recorded yet."""

    def __init__(self, redis: Redis, scripts: Scripts, archive: Archive) -> None:
        self._redis = redis
        self._scripts = scripts
        self._archive = archive

    async def get(self, order_id: str, buyer_id: str) -> Order | None:
        """See ``Orders``."""
        row = await self._here(keys.shard_of(order_id), order_id)
        if row is None:
            row = await self._archive.order(order_id, buyer_id)
            if row is not None and keys.shard_of(row.sale_id) != keys.shard_of(order_id):
                # Made before Redis decided: it lives where its sale does.
                row = await self._here(keys.shard_of(row.sale_id), order_id) or row
        return row.order if row is not None and row.buyer_id == buyer_id else None

    async def page(self, buyer_id: str, *, before: str | None, limit: int) -> list[Order]:
        """See ``Orders``."""
        # Redis first: what leaves it between the two is in the archive by then.
        here = await asyncio.gather(*(self._scripts.mine(shard, buyer_id, before, limit) for shard in keys.SHARDS))
        found = {row.id: row for row in await self._archive.page(buyer_id, before=before, limit=limit)}
        for rows in here:
            for text in rows:
                row = _read_row(text)
                known = found.get(row.id)
                if (before is None or row.id < before) and (known is None or known.version < row.version):
                    found[row.id] = row
        latest = sorted(found.values(), key=lambda row: row.id, reverse=True)
        return [row.order for row in latest[:limit]]

    async def _here(self, shard: str, order_id: str) -> OrderRow | None:
        text = await self._redis.ask("HGET", keys.orders_key(shard), order_id)
        return None if text is None else _read_row(text)
