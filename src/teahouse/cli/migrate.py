"""``teahouse migrate``: the schema up to date."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from teahouse import datadir, migrations
from teahouse.cli import options
from teahouse.engines.sql import Database
from teahouse.settings_sources import load


@click.command("migrate")
@options.config
@options.data_dir
def command(config: Path | None, data_dir: Path | None) -> None:
    """Bring the database's schema up to date. ``serve`` does the same at its start."""
    settings = load(config=config, options={"data_dir": data_dir})
    datadir.prepare(settings.data_dir)
    asyncio.run(_migrate(settings.database_url, settings.data_dir))


async def _migrate(url: str, data_dir: Path) -> None:
    database = Database(url)
    try:
        before = await migrations.current(database)
        if before == migrations.head():
            click.echo(f"The schema is up to date at {before}.")
            return
        with datadir.locked(data_dir):
            await migrations.upgrade(database)
        click.echo(f"The schema went from {before or 'nothing'} to {migrations.head()}.")
    finally:
        await database.aclose()
