"""The closing table, for people."""

from __future__ import annotations

from math import floor

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from teahouse.load.report import Report, ServerCost

_TOO_FAST = "too-many-frames"
_CODES = {
    1001: "going away",
    1002: "what came could not be read",
    1006: "the connection was cut",
    1012: "the server restarts",
    4401: "the token ended",
    4408: "too slow",
    4409: "replaced",
    4429: "too fast",
}


def show(console: Console, report: Report) -> None:
    """Prints the tables."""
    parts: list[RenderableType] = [Text(), _title(report)]
    for title, table in (
        ("Connections", _connections(report)),
        ("Messages", _messages(report)),
        ("How long it took from the send", _delays(report)),
        ("What it cost the server", _cost(report.server) if report.server else Table()),
    ):
        if table.row_count:
            parts += [Text(), Text(title, style="bold cyan"), Padding(table, (0, 0, 0, 2))]
    console.print(Group(*parts, Text(), _verdict(report)), highlight=False)


def _title(report: Report) -> Text:
    least, most = report.smallest_room, report.largest_room
    size = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    rooms = "1 room" if report.rooms == 1 else f"{report.rooms:,} rooms"
    words = f"{rooms} of {size}, {report.rate:,g} messages a second"
    return Text(f"{words}, {report.seconds:.1f} s", style="bold")


def _connections(report: Report) -> Table:
    table = _table()
    table.add_row(
        "held to the end", _count(report.held, good=report.held == report.connections), f"of {report.connections:,}"
    )
    for code, count in report.lost.items():
        table.add_row(f"lost with {code}", _count(count, good=False), _CODES.get(code, ""))
    return table


def _messages(report: Report) -> Table:
    table = _table()
    table.add_row("sent", _count(report.sent, good=report.sent == report.planned), f"of {report.planned:,}")
    table.add_row("acknowledged", _count(report.acknowledged, good=report.acknowledged == report.sent), "stored")
    whole = report.delivered == report.expected
    # Rounded down: what is almost everything is not everything.
    ratio = f"of {report.expected:,}: {floor(report.delivered_ratio * 100_000) / 1000:g} %"
    table.add_row("delivered", _count(report.delivered, good=whole), ratio)
    table.add_row("delivered a second", _count(round(report.delivered_per_second)), "")
    for what, count in (("heard twice", report.doubled), ("out of order", report.disordered)):
        if count:
            table.add_row(what, _count(count, good=False), "")
    for slug, count in report.refused.items():
        hint = "above the server's messages.frames_per_second for one socket" if slug == _TOO_FAST else ""
        table.add_row(f"refused: {escape(slug)}", _count(count, good=False), hint)
    return table


def _delays(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    table.add_column("to")
    for name in ("count", "p50 ms", "p99 ms", "max ms"):
        table.add_column(name, justify="right")
    for name, each in (("the ack", report.to_ack), ("each receiver", report.to_receivers)):
        figures = (f"[bold]{value:,.1f}[/]" for value in (each.p50, each.p99, each.max))
        table.add_row(name, f"{each.count:,}", *figures)
    # Whoever measures with a tool that is late itself should know.
    table.add_row("[dim]the load's own lateness[/]", "", "", "", f"[dim]{report.lateness_ms:,.1f}[/]")
    return table


def _cost(cost: ServerCost) -> Table:
    table = _table()
    start, before, connected, after = (
        f"{each / 2**20:,.1f}"
        for each in (cost.memory_at_start, cost.memory_before, cost.memory_connected, cost.memory_after)
    )
    table.add_row("memory a connection", _count(cost.bytes_per_connection), "bytes, resident, after connecting")
    told = f"MiB; {start} at the start, {before} after the logins, {after} in the end"
    table.add_row("memory in all", f"[bold]{connected}[/]", told)
    table.add_row("processor", f"[bold]{cost.cpu_seconds:,.2f}[/]", "seconds, all processes")
    if cost.cpu_seconds_per_thousand_delivered is not None:
        table.add_row("for 1,000 delivered", f"[bold]{cost.cpu_seconds_per_thousand_delivered * 1000:,.2f}[/]", "ms")
    return table


def _verdict(report: Report) -> Text:
    if report.complete:
        return Text("Everybody heard everything, once and in order.", style="bold green")
    if report.sent < report.planned:
        return Text(
            f"Not everything was sent: {report.planned - report.sent:,} messages are missing.", style="bold red"
        )
    if report.delivered < report.expected:
        missing = report.expected - report.delivered
        words = f"Not everything was delivered: {missing:,} deliveries are missing."
        if hasty := report.refused.get(_TOO_FAST):
            words += (
                f" {hasty:,} messages were above what the server takes of one socket: lower --rate, ask for more "
                "--connections, or raise its messages.frames_per_second."
            )
        return Text(words, style="bold red")
    return Text("Not everything was acknowledged, heard once and in order.", style="bold red")


def _count(number: int, *, good: bool = True) -> str:
    return f"[bold]{number:,}[/]" if good else f"[bold red]{number:,}[/]"


def _table() -> Table:
    table = Table(box=None, show_header=False, show_edge=False, pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    return table
