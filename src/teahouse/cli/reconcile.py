"""``teahouse reconcile``: do ledger, orders and payments agree?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import click

from teahouse import datadir
from teahouse.cli import options
from teahouse.cli.database import opened, require_schema
from teahouse.clock import Clock
from teahouse.engines.sql import Database
from teahouse.sales.reconciliation import Difference
from teahouse.sales.reconciliation_sql import reconcile
from teahouse.sales.sales_sql import read_sales
from teahouse.settings import Settings
from teahouse.settings_sources import load


@click.command("reconcile")
@click.option("--sale", metavar="ID", help="Only this sale")
@click.option("--repair", is_flag=True, help="Mend what can be mended; without Redis the server must be stopped")
@click.option("--to-sql", is_flag=True, help="Redis is to be given up: SQL decides about stock from now on")
@click.option("--drop", metavar="ID", help="Forget a row that was set aside and that you have dealt with")
@options.config
@options.data_dir
def command(
    sale: str | None, drop: str | None, *, repair: bool, to_sql: bool, config: Path | None, data_dir: Path | None
) -> None:
    """Compare ledger, orders and payments, and list every difference.

    Exits 0 when there is none, or none that was not repaired; else 1.
    """
    settings = load(config=config, options={"data_dir": data_dir})
    if to_sql and not settings.redis.url:
        raise click.UsageError("--to-sql needs TEAHOUSE_REDIS__URL: what Redis knows is brought to SQL first.")
    if drop is not None:
        asyncio.run(_drop(settings, drop))
    differences = asyncio.run(_reconcile(settings, sale, repair=repair, to_sql=to_sql))
    for each in differences:
        done = " (repaired)" if each.repaired else ""
        click.echo(f"{each.kind}  {each.id}  {each.units} items: {each.detail}{done}")
    if not differences:
        click.echo("No difference.")
    left = [each for each in differences if not each.repaired]
    if left:
        advice = _next(left, repair=repair)
        click.echo(f"{len(left)} of {len(differences)} differences are left. {advice}", err=True)
        raise SystemExit(1)


def _next(left: Sequence[Difference], *, repair: bool) -> str:
    if all(each.kind == "set-aside" for each in left):
        return "Make room for each in the database and run with --repair, or settle it by hand and run with --drop ID."
    if repair:
        return "These need a person: look at the orders and payments named above."
    return "Copy the database (without Redis, stop the server first), then run: teahouse reconcile --repair"


async def _drop(settings: Settings, row_id: str) -> None:
    if not settings.redis.url:
        raise click.UsageError("--drop needs TEAHOUSE_REDIS__URL: without Redis nothing is set aside.")
    from teahouse.cli.repair import drop_set_aside
    from teahouse.engines.redis import Redis

    redis = Redis(settings.redis.url.reveal(), timeout_seconds=settings.redis.timeout_seconds)
    await redis.connect()
    try:
        async with opened(settings) as database:
            if not await drop_set_aside(redis, database, row_id):
                raise click.UsageError(f"Nothing called {row_id} is set aside.")
    finally:
        await redis.aclose()


async def _reconcile(settings: Settings, sale: str | None, *, repair: bool, to_sql: bool) -> list[Difference]:
    alone = repair and not settings.redis.url
    with datadir.locked(settings.data_dir) if alone else nullcontext():
        async with opened(settings) as database:
            await require_schema(database)
            await _require_sale(database, sale)
            if settings.redis.url:
                return await _with_redis(settings, database, sale, repair=repair, to_sql=to_sql)
            return await reconcile(database, clock=Clock(), sale_id=sale, repair=repair)


async def _with_redis(
    settings: Settings, database: Database, sale: str | None, *, repair: bool, to_sql: bool
) -> list[Difference]:
    # Redis' client costs a tenth of a second at start, which a shop without Redis need not pay.
    from teahouse.cli.repair import reconcile_with_redis
    from teahouse.engines.redis import Redis

    redis = Redis(settings.redis.url.reveal(), timeout_seconds=settings.redis.timeout_seconds)
    await redis.connect()
    try:
        return await reconcile_with_redis(
            redis, database, settings.data_dir, clock=Clock(), sale_id=sale, repair=repair or to_sql, to_sql=to_sql
        )
    finally:
        await redis.aclose()


async def _require_sale(database: Database, sale: str | None) -> None:
    if sale is None:
        return
    async with database.reading() as connection:
        if not await read_sales(connection, sale):
            raise click.UsageError(f"There is no sale {sale}; GET /v1/sales lists them.")
