"""``teahouse doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from teahouse.cli import options
from teahouse.cli.checkup import examine
from teahouse.cli.findings import Finding, State
from teahouse.settings import SettingsError
from teahouse.settings_sources import load

_WORDS = {State.GOOD: "ok", State.ODD: "look", State.BROKEN: "mend"}
_COLOURS = {State.GOOD: "green", State.ODD: "yellow", State.BROKEN: "bold red"}


@click.command("doctor", short_help="Say what is wrong, and what to mend.")
@options.config
@options.data_dir
def command(config: Path | None, data_dir: Path | None) -> None:
    """Check settings, data directory, database, clock, ports and limits. Exits 1 when something must be mended."""
    findings = asyncio.run(_findings(config, data_dir))
    _show(findings)
    if any(finding.state is State.BROKEN for finding in findings):
        raise SystemExit(1)


async def _findings(config: Path | None, data_dir: Path | None) -> list[Finding]:
    try:
        settings = load(config=config, options={"data_dir": data_dir})
    except SettingsError as error:
        # Without settings there is nothing else to look at.
        return [Finding("settings", State.BROKEN, line) for line in str(error).splitlines()]
    return [finding async for finding in examine(settings)]


def _show(findings: list[Finding]) -> None:
    if not sys.stdout.isatty():
        # A file or a pipe gets one plain line for each finding, however long.
        for finding in findings:
            click.echo(f"{finding.check:<15} {_WORDS[finding.state]:<5} {finding.says}")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        word = f"[{_COLOURS[finding.state]}]{_WORDS[finding.state]}[/]"
        table.add_row(finding.check, word, escape(finding.says))
    Console().print(table)
