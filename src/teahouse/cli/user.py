"""``teahouse user create``: an account, an administrator's as a rule."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from teahouse.accounts import Role
from teahouse.accounts.accounts_sql import create_user
from teahouse.cli import options
from teahouse.cli.database import opened, up_to_date
from teahouse.clock import Clock
from teahouse.settings import Settings
from teahouse.settings_sources import load

_MAX_PASSWORD_BYTES = 4096


@click.group("user")
def command() -> None:
    """Make accounts."""


@command.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["user", "admin"]), default="user", show_default=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking for it")
@options.config
@options.data_dir
def create(name: str, *, role: Role, password_stdin: bool, config: Path | None, data_dir: Path | None) -> None:
    """Make an account that logs in with NAME and a password; print its id. A running server knows it at once."""
    settings = load(config=config, options={"data_dir": data_dir})
    password = _from_stdin() if password_stdin else _asked()
    click.echo(asyncio.run(_create(settings, name, password, role)))


async def _create(settings: Settings, name: str, password: str, role: Role) -> str:
    async with opened(settings) as database:
        await up_to_date(database, settings)
        user = await create_user(
            database, Clock(), username=name, password=password, role=role, settings=settings.accounts
        )
    return user.id


def _from_stdin() -> str:
    given = sys.stdin.buffer.read(_MAX_PASSWORD_BYTES + 1)
    if len(given) > _MAX_PASSWORD_BYTES:
        raise click.UsageError(f"What came from standard input is longer than {_MAX_PASSWORD_BYTES} bytes.")
    try:
        # An echo or a here-document ends with a line break that nobody means.
        return given.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise click.UsageError("What came from standard input is not UTF-8 text.") from error


def _asked() -> str:
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask for a password on; use --password-stdin.")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password
