"""Entries of the log that come twice, late, or to somebody who is gone: SQL has each order once, in its last state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from tests.faults.conftest import Proxied
from tests.faults.nodes import Shop, until
from tests.faults.rush import account, rush

SHARDS = "0123456789abcdef"


def logs(shop: Shop) -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    """Each stream that has entries, with these."""
    for shard in SHARDS:
        name = f"teahouse:{{{shard}}}:log"
        entries = shop.redis.cli("XRANGE", name, "-", "+")
        if entries:
            yield name, entries


def replay(shop: Shop, name: str, entries: list[tuple[str, list[str]]]) -> None:
    """The same again, as a producer would that was not sure."""
    for _, fields in entries:
        shop.redis.cli("XADD", name, "*", *fields)
        count = fields[fields.index("count") + 1]
        shop.redis.cli("INCRBY", name.replace(":log", ":unrecorded"), count)


async def test_entries_that_come_twice_even_after_newer_ones_change_nothing(proxied: Proxied):
    shop = proxied.shop
    async with rush(shop, buyers=6, pays=True) as crowd:
        await crowd.sells(10)
        proxied.to_database.refuse()
        # Those who pay wait for the database; those who only buy or cancel do not.
        await crowd.sells(100)
        copies = dict(await asyncio.to_thread(lambda: list(logs(shop))))
        assert copies
        proxied.to_database.accept()
        await asyncio.to_thread(until, lambda: shop.unrecorded() < 5, "the recorder has caught up")
        for name, entries in copies.items():
            await asyncio.to_thread(replay, shop, name, entries)
            await asyncio.to_thread(replay, shop, name, list(reversed(entries)))
        await crowd.sells(10)
        await account(crowd)
        await asyncio.to_thread(until, lambda: shop.unrecorded() == 0, "what came again has left too")
        assert sum(int(shop.redis.cli("GET", f"teahouse:{{{shard}}}:unrecorded") or 0) for shard in SHARDS) == 0


async def test_entries_that_somebody_took_and_never_finished_are_recorded_all_the_same(proxied: Proxied):
    shop = proxied.shop
    async with rush(shop, pays=True) as crowd:
        await crowd.sells(10)
        proxied.to_database.refuse()
        await crowd.sells(50)
        for name, entries in await asyncio.to_thread(lambda: list(logs(shop))):
            ids = [entry_id for entry_id, _ in entries]
            # A consumer that took what is new, and one that was handed what another had taken.
            shop.redis.cli("XREADGROUP", "GROUP", "recorder", "dead", "COUNT", 1000, "STREAMS", name, ">")
            shop.redis.cli("XCLAIM", name, "recorder", "gone", 0, *ids[::2])
        proxied.to_database.accept()
        await crowd.sells(10)
        await account(crowd)
        await asyncio.to_thread(until, lambda: shop.pending() == 0, "nothing is left with the dead")
