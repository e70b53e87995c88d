"""The ledger's scripts, each called with its keys and arguments in the order its source names them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from teahouse.engines.redis import Redis, Script
from teahouse.sales import keys_redis as keys
from teahouse.sales.model import Sale, Tally

_NAMES = ("reserve", "change", "open", "restock", "witness", "mine", "recorded", "sweep", "close", "restore")
# What `HSET` takes at once: Lua hands no more than some 8,000 values to one call.
ROWS_AT_ONCE = 1000


class Scripts:
    """Calls to Redis that are more than one command. ``now`` is 0 for Redis' own time, in Unix milliseconds else."""

    def __init__(self, redis: Redis, channel: str) -> None:
        folder = files("teahouse.sales") / "lua"
        rows = (folder / "rows.lua").read_text(encoding="utf-8")
        self._scripts = {name: Script(rows + (folder / f"{name}.lua").read_text(encoding="utf-8")) for name in _NAMES}
        self._redis = redis
        self._channel = channel

    async def reserve(self, sale_id: str, now: int, seq: int, most: int, asks: Sequence[str | int]) -> list[Any]:
        """Purchases: for each, slot, quantity and the row up to its status. See ``lua/reserve.lua``.

        Not to be cancelled: see ``Redis.send``.
        """
        shard = keys.shard_of(sale_id)
        names = (
            keys.sale_key(sale_id),
            keys.slots_key(sale_id),
            keys.bought_key(sale_id),
            keys.orders_key(shard),
            keys.due_key(shard),
        )
        reply: list[Any] = await self._redis.send_script(
            self._scripts["reserve"], names, (keys.prefix(shard), now, seq, most, *asks)
        )
        return reply

    async def change(self, shard: str, now: int, commands: Sequence[str | int | bytes]) -> list[list[Any]]:
        """Cancellations, payments, expiry: for each, five values. See ``lua/change.lua``."""
        names = (keys.log_key(shard),)
        reply: list[list[Any]] = await self._redis.run(
            self._scripts["change"], names, (keys.prefix(shard), now, self._channel, *commands)
        )
        return reply

    async def open(self, sale: Sale) -> None:
        """A new sale; asked again it changes nothing."""
        terms: tuple[str | int, ...] = (
            sale.id,
            sale.product_id,
            sale.stock,
            sale.price,
            sale.starts_at,
            sale.ends_at,
            sale.per_buyer_limit,
            sale.pay_within_seconds,
            sale.created_at,
        )
        await self._redis.run(self._scripts["open"], (keys.sale_key(sale.id),), terms)

    async def restock(self, sale_id: str, now: int, stock: int) -> list[Any]:
        """See ``lua/restock.lua``."""
        arguments = (keys.prefix(keys.shard_of(sale_id)), now, self._channel, stock)
        reply: list[Any] = await self._redis.run(self._scripts["restock"], (keys.sale_key(sale_id),), arguments)
        return reply

    async def witness(self, sale_id: str, seq: int) -> bool:
        """Whether Redis still knows the sale up to ``seq``; where not, the sale is marked as lost."""
        return bool(await self._redis.run(self._scripts["witness"], (keys.sale_key(sale_id),), (seq,)))

    async def mine(self, shard: str, buyer_id: str, before: str | None, limit: int) -> list[bytes]:
        """The rows of a buyer's latest orders in a shard, older than ``before``; may be more than ``limit``."""
        names = (keys.orders_key(shard),)
        rows: list[bytes] = await self._redis.run(
            self._scripts["mine"], names, (keys.prefix(shard), buyer_id, before or "", limit)
        )
        return rows

    async def recorded(self, shard: str, entries: Sequence[tuple[str, int]]) -> int:
        """These entries of the log, each with how many rows it held, are in SQL."""
        arguments = (keys.prefix(shard), keys.GROUP, *(value for entry in entries for value in entry))
        return int(await self._redis.run(self._scripts["recorded"], (keys.log_key(shard),), arguments))

    async def sweep(self, shard: str, now: int) -> int:
        """Lets go of what is settled and in SQL; returns how much it was."""
        arguments = (keys.prefix(shard), now)
        return int(await self._redis.run(self._scripts["sweep"], (keys.log_key(shard),), arguments))

    async def close(self, sale_id: str, now: int, seq: int, after_ms: int) -> bool:
        """Frees what only a running sale needs, where it is over and SQL has it up to ``seq``."""
        names = (keys.sale_key(sale_id), keys.slots_key(sale_id), keys.bought_key(sale_id))
        return bool(await self._redis.run(self._scripts["close"], names, (now, seq, after_ms)))

    async def restore(self, sale: Sale, tally: Tally, seq: int, placed: int) -> None:
        """The last step of bringing a sale back: its terms, its counters, and no mark any more."""
        terms: tuple[str | int, ...] = (
            keys.prefix(keys.shard_of(sale.id)),
            sale.id,
            sale.product_id,
            sale.price,
            sale.starts_at,
            sale.ends_at,
            sale.per_buyer_limit,
            sale.pay_within_seconds,
            sale.created_at,
            tally.initial,
            tally.remaining,
            tally.reserved,
            tally.sold,
            seq,
            placed,
        )
        await self._redis.run(self._scripts["restore"], (keys.sale_key(sale.id),), terms)
