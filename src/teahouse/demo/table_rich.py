"""The closing table, for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from math import floor

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from teahouse.demo.report import Report, RoomFigures, Times

_REASONS = {
    "sold-out": "nothing was left at that moment",
    "sale-not-started": "asked before the sale had started",
    "limit-reached": "wanted more than one buyer may have",
    "idempotency-mismatch": "used a key again for another purchase",
    "not-found": "reached for somebody else's order",
    "wechat-code-invalid": "used a login code a second time",
    "access-token-invalid": "forged an access token",
}
_MOST_SHOWN = 5
_DRAWN_WIDTH = 84


def show(console: Console, report: Report) -> None:
    """Prints the table."""
    console.print(Group(*_parts(report)), highlight=False)


def _parts(report: Report) -> Iterator[RenderableType]:
    yield Text()
    yield Text(
        f"A mini-program's day: {report.buyers:,} buyers, {report.stock:,} items, {report.seconds:.1f} s", style="bold"
    )
    for title, table in (
        ("What became of the stock", _stock(report)),
        ("Who was refused, and why", _refusals(report)),
        ("Asked twice", _doubles(report)),
        ("What was said in the sale's room, and what buyers were told", _room(report)),
        ("How long buyers waited, all asking at once", _times(report)),
        ("How long news took to reach them", _news(report)),
        ("What was promised", _promises(report)),
    ):
        if table.row_count:
            yield Text()
            yield Text(title, style="bold cyan")
            yield Padding(table, (0, 0, 0, 2))
    yield Text()
    yield _verdict(report)


def _stock(report: Report) -> Table:
    table = _table()
    more = ", all of them" if report.sold == report.stock else ""
    table.add_row("[green]sold[/]", f"[bold green]{report.sold:,}[/]", f"of {report.stock:,}{more}")
    rush = f"{report.rush_purchases:,} purchases answered in {report.rush_seconds:.2f} s"
    table.add_row("reserved in the rush", _count(report.bought_in_the_rush), rush)
    table.add_row(
        "purchases a second", _count(report.purchases_per_second), "accepted ones on disk before their answer"
    )
    table.add_row("returned", _count(report.expired + report.cancelled), _returned(report))
    table.add_row("sold again", _count(report.resold), "to buyers who had waited")
    if report.late_settled or report.late_refunded:
        table.add_row("paid too late", _count(report.late_settled + report.late_refunded), _late(report))
    if report.remaining:
        table.add_row("remaining", _count(report.remaining), "nobody was left who wanted them")
    if report.went_without:
        table.add_row("went home without", _count(report.went_without), "buyers, when the last item was sold")
    shown = "unknown" if report.difference is None else f"{report.difference:,}"
    style = "bold green" if report.difference == 0 else "bold red"
    table.add_row("[bold]difference[/]", f"[{style}]{shown}[/]", f"in {report.looks_at_the_books:,} looks at the books")
    return table


def _returned(report: Report) -> str:
    return f"{report.expired:,} not paid in time, {report.cancelled:,} cancelled"


def _late(report: Report) -> str:
    parts = []
    if report.late_refunded:
        parts.append(f"{report.late_refunded:,} to be refunded: sold to others meanwhile")
    if report.late_settled:
        parts.append(f"{report.late_settled:,} settled: stock was left")
    return ", ".join(parts)


def _refusals(report: Report) -> Table:
    table = _table()
    for slug, count in report.refused.items():
        table.add_row(escape(slug), _count(count), _REASONS.get(slug, ""))
    return table


def _doubles(report: Report) -> Table:
    table = _table()
    for doubles in report.doubles:
        style = "green" if doubles.alike == doubles.pairs else "bold red"
        table.add_row(doubles.why.lower(), _count(doubles.pairs), f"[{style}]{doubles.alike:,} answered alike[/]")
    return table


def _room(report: Report) -> Table:
    table, room = _table(), report.room
    table.add_row("sockets", _count(room.sockets), _sockets(report))
    if room.sent:
        table.add_row("messages", _count(room.sent), f"{room.by_the_shop:,} by the shop, {_acknowledged(room)} stored")
        whole = room.delivered == room.expected and room.in_sequence
        # Rounded down: what is almost everything is not everything.
        share = floor(room.delivered / room.expected * 1000) / 10 if room.expected else 100
        order = "in sequence, each once" if room.in_sequence else "[bold red]not each once and in sequence[/]"
        style = "bold green" if whole else "bold red"
        table.add_row("delivered", f"[{style}]{room.delivered:,}[/]", f"of {room.expected:,}: {share:g} %, {order}")
    if report.results_by_push:
        table.add_row("results by push", _count(report.results_by_push), "what became of an order, without asking")
    if report.results_by_asking:
        table.add_row(
            "results by asking", _count(report.results_by_asking), "once each: no socket, or nothing heard in time"
        )
    return table


def _sockets(report: Report) -> str:
    room = report.room
    if room.sockets < room.wanted:
        hint = " --realtime-url names the place." if not room.sockets else ""
        return f"of {room.wanted:,}: {escape(room.absent)}.{hint}"
    lost = ", ".join(f"[bold red]{count:,} lost with {code}[/]" for code, count in room.lost.items())
    returned = f", {room.returned:,} times lost and had again" if room.returned else ""
    return f"of {report.buyers:,} buyers, {lost or 'held to the end'}{returned}"


def _acknowledged(room: RoomFigures) -> str:
    return "all" if room.acknowledged == room.sent else f"[bold red]{room.acknowledged:,}[/]"


def _times(report: Report) -> Table:
    table = _timetable("request", "requests")
    for times in report.times:
        table.add_row(times.kind, *_shown(times))
    return table


def _news(report: Report) -> Table:
    table, room = _timetable("news", "heard"), report.room
    if room.delivered:
        table.add_row("a message, to all receivers", *_shown(Times("", room.delivered, room.p50, room.p99)))
    for times in report.news:
        after = "its time was up" if times.kind == "order expired" else "the tap"
        table.add_row(f"{times.kind}, after {after}", *_shown(times))
    return table


def _timetable(what: str, how_many: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    table.add_column(what)
    for name in (how_many, "p50 ms", "p99 ms"):
        table.add_column(name, justify="right")
    return table


def _shown(times: Times) -> tuple[str, str, str]:
    return _count(times.requests), f"[bold]{times.p50:,.1f}[/]", f"[bold]{times.p99:,.1f}[/]"


def _promises(report: Report) -> Table:
    table = Table(box=None, show_header=False, show_edge=False, pad_edge=False)
    for verdict in report.promises:
        word = "[green]kept[/]" if verdict.kept else "[bold red]BROKEN[/]"
        table.add_row(word, verdict.promise)
        for how in verdict.broken[:_MOST_SHOWN]:
            table.add_row("", f"[red]{escape(how)}[/]")
        if len(verdict.broken) > _MOST_SHOWN:
            table.add_row("", f"[red]and {len(verdict.broken) - _MOST_SHOWN:,} more[/]")
    return table


def _verdict(report: Report) -> Text:
    if report.kept:
        return Text(f"Every promise was kept. Difference {report.difference}.", style="bold green")
    broken = [verdict.promise for verdict in report.promises if not verdict.kept]
    return Text(f"Broken: {'; '.join(broken)}.", style="bold red")


def _count(number: int) -> str:
    return f"[bold]{number:,}[/]"


def _table() -> Table:
    table = Table(box=None, show_header=False, show_edge=False, pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    return table


def draw(report: Report) -> str:
    """The table as an SVG that fetches nothing."""
    console = Console(
        record=True, width=_DRAWN_WIDTH, file=StringIO(), force_terminal=True, color_system="truecolor", no_color=False
    )
    show(console, report)
    svg = console.export_svg(title="teahouse demo")
    # Rich's template asks a server of fonts for its typeface; any monospaced one will do.
    return re.sub(r"@font-face\s*\{.*?\}\s*", "", svg, flags=re.DOTALL)
