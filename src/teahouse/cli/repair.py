"""``teahouse reconcile`` where Redis decides: finds every difference, and brings back what Redis lost."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path

from teahouse.clock import Clock
from teahouse.engines.redis import Redis
from teahouse.engines.redis_feed import Feed
from teahouse.engines.sql import Database
from teahouse.problems import RedisUnavailable
from teahouse.sales.archive import Archive, entry_of_row
from teahouse.sales.archive_sql import SqlArchive
from teahouse.sales.backlog_redis import RedisBacklog
from teahouse.sales.keys_redis import orders_key, shard_of
from teahouse.sales.receipts import keep_told, missing_of, read_lost, receipts_in
from teahouse.sales.reconciliation import Difference, DifferenceKind
from teahouse.sales.reconciliation_redis import Reconciliation
from teahouse.sales.reconciliation_sql import reconcile
from teahouse.sales.recorder import Recorder
from teahouse.sales.scripts_redis import Scripts
from teahouse.settings import SettingsError

_UNPACED = 10_000_000
_DRAIN_SECONDS = 120.0
_LOOK_SECONDS = 0.1
_RESTORED: Sequence[DifferenceKind] = ("redis-lost", "redis-differs", "log-incomplete", "sum-differs")


async def reconcile_with_redis(
    redis: Redis,
    database: Database,
    data_dir: Path,
    *,
    clock: Clock,
    sale_id: str | None,
    repair: bool,
    to_sql: bool,
) -> list[Difference]:
    """Every difference, of all sales or of one; servers may run.

    With ``repair``, what is logged is recorded first, then SQL's own differences are mended, then each sale of which
    Redis says something else is restored from SQL; it sells nothing meanwhile. ``to_sql`` then gives the stock to SQL.
    """
    archive = SqlArchive(database)
    scripts = Scripts(redis, Feed(redis).channel)
    books = Reconciliation(redis, scripts, archive, clock=clock)
    if to_sql:
        await _require_nobody(redis)
    if repair:
        await _drain(redis, scripts, archive, clock)
    found = await reconcile(database, clock=clock, sale_id=sale_id, repair=repair)
    recounted = {each.id for each in found if each.repaired}
    for each_id in [sale_id] if sale_id else [archived.sale.id async for archived in books.every_sale()]:
        differences = await books.compare(each_id)
        differs = any(each.kind in _RESTORED for each in differences)
        if repair and (differs or each_id in recounted):
            # A sale that still sells must not, before the last of what it sold is read.
            await books.stop_selling(each_id)
            await _drain(redis, scripts, archive, clock)
            await books.restore((await archive.sales([each_id]))[each_id])
            differences = [each.mended() if each.kind in _RESTORED else each for each in differences]
        found += differences
    if repair:
        found += await _try_again(books, archive)
    found += await books.set_aside()
    found += await _promised(redis, archive, data_dir, repair=repair)
    if repair:
        # SQL follows what was restored.
        await _drain(redis, scripts, archive, clock)
    if to_sql:
        await archive.hand_over("sql")
    return found


async def _try_again(books: Reconciliation, archive: Archive) -> list[Difference]:
    """Records what was set aside, where a person has made room for it."""
    taken: list[Difference] = []
    for shard, each in await books.refused():
        entry = entry_of_row(each)
        if entry is not None and not await archive.record([entry]):
            await books.forget(shard, each.id)
            taken.append(Difference("set-aside", each.id, 0, each.reason, repaired=True))
    return taken


async def drop_set_aside(redis: Redis, database: Database, row_id: str) -> bool:
    """Forgets a row that was set aside and that a person has dealt with; False where there is none."""
    books = Reconciliation(redis, Scripts(redis, Feed(redis).channel), SqlArchive(database), clock=Clock())
    places = [shard for shard, each in await books.refused() if each.id == row_id]
    for shard in places:
        await books.forget(shard, row_id)
    return bool(places)


async def _promised(redis: Redis, archive: Archive, data_dir: Path, *, repair: bool) -> list[Difference]:
    """The orders that this node's buyers were told of, and that nobody knows any more.

    Receipts are looked at with ``repair`` only: until everything logged is recorded, not to be in SQL means nothing.
    What is told then is put aside as told.
    """
    missing = await asyncio.to_thread(read_lost, data_dir)
    if repair:
        found = await missing_of(archive, receipts_in(data_dir))
        rows = await asyncio.gather(*(redis.ask("HEXISTS", orders_key(shard_of(row.id)), row.id) for row in found))
        missing += [row for row, here in zip(found, rows, strict=True) if not here]
        await asyncio.to_thread(keep_told, data_dir, missing)
    told = {row.id: row for row in missing}
    return [
        Difference("order-lost", row.id, row.quantity, f"promised to buyer {row.buyer_id} in sale {row.sale_id}")
        for row in told.values()
    ]


async def _require_nobody(redis: Redis) -> None:
    channel = Feed(redis).channel
    [_, listening] = await redis.ask("PUBSUB", "NUMSUB", channel)
    if listening:
        raise SettingsError(f"{listening} workers are running on this Redis; stop every node, then try again.")


async def _drain(redis: Redis, scripts: Scripts, archive: Archive, clock: Clock) -> None:
    """Records what is logged, or waits until the server's own recorder has."""
    backlog = RedisBacklog(
        redis, scripts, archive, worker=f"reconcile {secrets.token_hex(8)}", clock=clock, timed=False
    )
    recorder = Recorder(backlog, archive, per_second=_UNPACED)
    deadline = asyncio.get_running_loop().time() + _DRAIN_SECONDS
    # What is sold meanwhile is not waited for: it might never end.
    newest = await backlog.newest()
    while True:
        await recorder.drain()
        if await backlog.has_left(newest):
            return
        if asyncio.get_running_loop().time() > deadline:
            raise RedisUnavailable(
                f"After {_DRAIN_SECONDS:.0f} seconds another process is still recording orders. Try again."
            )
        await asyncio.sleep(_LOOK_SECONDS)
