"""``teahouse load``: many people at once, and what it costs the server."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from teahouse.cli.interruptible import run_interruptible

if TYPE_CHECKING:
    from rich.console import Console

    from teahouse.load import Plan, Progress, Report

# One source address has some 28,000 ports towards one server.
_MOST_CONNECTIONS = 28_000


@click.group("load")
def command() -> None:
    """Play many people at once, and measure."""


@command.command()
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, metavar="URL", help="The server's HTTP")
@click.option(
    "--realtime-url", default="ws://127.0.0.1:8001", show_default=True, metavar="URL", help="The server's WebSockets"
)
@click.option("--connections", type=click.IntRange(2, _MOST_CONNECTIONS), default=1000, show_default=True, metavar="N")
@click.option("--room-size", type=click.IntRange(2, 20_000), default=10, show_default=True, metavar="N")
@click.option(
    "--rate",
    type=click.FloatRange(0, 100_000, min_open=True),
    show_default="1000, or less where so few sockets may not send as many",
    metavar="N",
    help="Messages a second in all",
)
@click.option("--seconds", type=click.FloatRange(0, 86_400, min_open=True), default=30, show_default=True, metavar="N")
@click.option(
    "--patience",
    type=click.FloatRange(0, 600, min_open=True),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="How long a silence ends the wait for the last messages",
)
@click.option("--pid", type=click.IntRange(1), metavar="PID", help="The server's process, to report its memory and CPU")
@click.option("--json", "as_json", is_flag=True, help="Print the closing table as JSON and nothing else")
def messages(*, url: str, realtime_url: str, pid: int | None, as_json: bool, rate: float | None, **how: Any) -> None:
    """Fill rooms with people who talk, and see that everybody hears everything.

    The server must use the sandbox that stands in for WeChat. The people, rooms and messages stay on it: do not use a
    server with customers.

    Exits 0 when everybody heard everything, once and in order, 1 when not, 2 when the load could not be played.
    """
    from rich.console import Console

    from teahouse.load import LoadFailed, Plan

    console = Console()
    plan = Plan(**how).at_usual_rate() if rate is None else Plan(rate=rate, **how)
    try:
        with ExitStack() as shown:
            progress = _progress(console, shown, quiet=as_json)
            report = run_interruptible(_play(plan, url=url, realtime_url=realtime_url, pid=pid, progress=progress))
    except LoadFailed as failure:
        click.echo(f"teahouse: {failure}", err=True)
        raise SystemExit(2) from failure
    _tell(report, console, as_json=as_json)
    raise SystemExit(0 if report.complete else 1)


async def _play(plan: Plan, **where: Any) -> Report:
    from teahouse.load import play

    return await play(plan, **where)


def _progress(console: Console, shown: ExitStack, *, quiet: bool) -> Progress:
    from teahouse.load import NoProgress
    from teahouse.load.progress_rich import Bars, Lines

    if quiet:
        return NoProgress()
    if console.is_terminal and not console.is_dumb_terminal:
        return shown.enter_context(Bars(console))
    return Lines(console)


def _tell(report: Report, console: Console, *, as_json: bool) -> None:
    import msgspec

    from teahouse.load.table_rich import show

    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        show(console, report)
