"""``teahouse demo``: a mini-program's whole day, and whether every promise was kept."""

from __future__ import annotations

import secrets
import sys
import tempfile
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from teahouse.cli import options
from teahouse.cli.interruptible import run_interruptible

if TYPE_CHECKING:
    from rich.console import Console

    from teahouse.demo import Credentials, Ledger, Plan, Report, Stage
    from teahouse.settings import Settings

_MAX_PASSWORD_BYTES = 4096


class _Where(NamedTuple):
    """The server to play on, and who its operator is."""

    url: str | None
    realtime_url: str | None
    admin: Credentials | None
    config: Path | None
    data_dir: Path | None


@click.command("demo")
@click.option("--buyers", type=click.IntRange(1, 10_000), default=500, show_default=True, metavar="N")
@click.option("--stock", type=click.IntRange(1, 1_000_000), default=100, show_default=True, metavar="N")
@click.option("--url", metavar="URL", help="A running server  [default: one of its own, in a temporary directory]")
@click.option(
    "--realtime-url", metavar="URL", help="Its WebSockets  [default: where --url is, or the port after it, if there]"
)
@click.option("--admin", metavar="NAME", help="An admin of that server; the password is read from standard input")
@click.option("--json", "as_json", is_flag=True, help="Print the closing table as JSON and nothing else")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Draw the table as well")
@options.config
@options.data_dir
def command(buyers: int, stock: int, *, admin: str | None, as_json: bool, svg: Path | None, **where: Any) -> None:
    """Play a mini-program's whole day: buyers log in, chat, fight for a sale, pay, cancel, or vanish.

    Up to a thousand of them hold a WebSocket and are told what became of their orders.

    Against a running server it makes an admin for itself in the database that the settings name, since whoever holds
    the database is the operator. The server must use the sandbox that stands in for WeChat.

    Exits 0 when every promise was kept, 1 when one was broken, 2 when the day could not be played.
    """
    from rich.console import Console

    from teahouse.demo import DemoFailed, Plan

    console = Console()
    if not where["url"] and (admin or where["config"] or where["realtime_url"]):
        raise click.UsageError("--admin, --config and --realtime-url are for a running server: give its --url too.")
    place = _Where(admin=_given(admin) if admin else None, **where)
    try:
        report = run_interruptible(_demo(Plan(buyers, stock), place, console, quiet=as_json))
    except DemoFailed as failure:
        click.echo(f"teahouse: {failure}", err=True)
        raise SystemExit(2) from failure
    _tell(report, console, as_json=as_json, svg=svg)
    raise SystemExit(0 if report.kept else 1)


async def _demo(plan: Plan, place: _Where, console: Console, *, quiet: bool) -> Report:
    from teahouse import datadir
    from teahouse.demo import Ledger, own_server, play_day
    from teahouse.demo.plan import LIMIT_PER_BUYER
    from teahouse.demo.report import close_books
    from teahouse.settings import Settings
    from teahouse.settings_sources import load

    began = perf_counter()
    ledger = Ledger(buyers=plan.buyers, stock=plan.stock, limit=LIMIT_PER_BUYER)
    server = None
    async with AsyncExitStack() as held:
        url, realtime_url = place.url, place.realtime_url
        if url is None:
            directory = place.data_dir or Path(held.enter_context(tempfile.TemporaryDirectory(prefix="teahouse-")))
            settings = Settings(data_dir=directory.absolute())
            datadir.prepare(settings.data_dir)
            server = await held.enter_async_context(own_server(settings.data_dir))
            url, realtime_url = server.url, server.realtime_url
        else:
            settings = load(config=place.config, options={"data_dir": place.data_dir})

        async def hire() -> Credentials:
            return place.admin or await _hire(settings)

        with ExitStack() as shown:
            stage = _stage(console, ledger, shown, quiet=quiet)
            await play_day(plan, url, hire, stage, ledger, realtime_url=realtime_url or "")
    if server is not None and server.status != 0:
        ledger.surprises.add(f"the server ended with {server.status}: {server.last_words}")
    return close_books(ledger, perf_counter() - began)


def _stage(console: Console, ledger: Ledger, shown: ExitStack, *, quiet: bool) -> Stage:
    from teahouse.demo.stage import NoStage
    from teahouse.demo.stage_rich import LiveStage, PlainStage

    if quiet:
        return NoStage()
    if console.is_terminal and not console.is_dumb_terminal:
        return shown.enter_context(LiveStage(console, ledger))
    return PlainStage(console)


def _given(username: str) -> Credentials:
    """The admin of that name, with the password from standard input."""
    from teahouse.demo import Credentials
    from teahouse.settings import Secret

    if sys.stdin.isatty():
        return Credentials(username, Secret(click.prompt(f"Password of {username}", hide_input=True, err=True)))
    given = sys.stdin.buffer.read(_MAX_PASSWORD_BYTES)
    try:
        return Credentials(username, Secret(given.decode().removesuffix("\n").removesuffix("\r")))
    except UnicodeDecodeError as error:
        raise click.UsageError("What came from standard input is not UTF-8 text.") from error


async def _hire(settings: Settings) -> Credentials:
    """A new admin in the configured database. Raises ``DemoFailed``, ``SettingsError``, ``DatabaseUnavailable``."""
    from teahouse.accounts.accounts_sql import create_user
    from teahouse.cli.database import opened, require_schema
    from teahouse.clock import Clock
    from teahouse.demo import Credentials, DemoFailed
    from teahouse.settings import Secret

    place = "the configured database" if settings.database.url else str(settings.data_dir)
    if not settings.database.url and not (settings.data_dir / "teahouse.db").is_file():
        raise DemoFailed(f"There is no database in {place}; --data-dir names the directory that the server uses.")
    username, password = f"demo-{secrets.token_hex(6)}", secrets.token_urlsafe(24)
    async with opened(settings) as database:
        await require_schema(database)
        await create_user(
            database, Clock(), username=username, password=password, role="admin", settings=settings.accounts
        )
    return Credentials(username, Secret(password), origin=place)


def _tell(report: Report, console: Console, *, as_json: bool, svg: Path | None) -> None:
    import msgspec

    from teahouse.demo.table_rich import draw, show

    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        show(console, report)
    if svg is not None:
        try:
            svg.write_text(draw(report), encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"--svg: {svg} cannot be written ({error.strerror}).") from error
