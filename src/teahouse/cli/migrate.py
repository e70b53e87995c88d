"""``teahouse migrate``: the schema up to date."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from teahouse.cli import options
from teahouse.cli.database import opened, up_to_date
from teahouse.settings import Settings
from teahouse.settings_sources import load


@click.command("migrate")
@options.config
@options.data_dir
def command(config: Path | None, data_dir: Path | None) -> None:
    """Bring the database's schema up to date. The server does the same at its start."""
    asyncio.run(_migrate(load(config=config, options={"data_dir": data_dir})))


async def _migrate(settings: Settings) -> None:
    async with opened(settings) as database:
        before, now = await up_to_date(database, settings)
    if before == now:
        click.echo(f"The schema is up to date at {now}.")
    else:
        click.echo(f"The schema went from {before or 'nothing'} to {now}.")
