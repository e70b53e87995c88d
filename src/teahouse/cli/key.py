"""``teahouse key rotate``: a new signing key, without logging anybody out."""

from __future__ import annotations

from pathlib import Path

import click

from teahouse import datadir
from teahouse.cli import options
from teahouse.settings import SettingsError
from teahouse.settings_sources import load


@click.group("key")
def command() -> None:
    """Change the key that signs tokens."""


@command.command()
@options.config
@options.data_dir
def rotate(config: Path | None, data_dir: Path | None) -> None:
    """Add a new key that signs from the next start on; the keys before it go on verifying."""
    settings = load(config=config, options={"data_dir": data_dir})
    if settings.secret_key:
        raise SettingsError(
            "secret_key: the key comes from the settings, so it is changed there: "
            "move it to TEAHOUSE_PREVIOUS_SECRET_KEYS and put a new one into TEAHOUSE_SECRET_KEY."
        )
    count = datadir.rotate(settings.data_dir)
    click.echo(f"{settings.data_dir / datadir.KEY_FILE}: a new key signs, {count - 1} older still verify.")
    click.echo("Restart the server to use it.")
