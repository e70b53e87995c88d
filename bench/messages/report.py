"""The chapters on the terminal, and as the section of docs/benchmarks.md that is about messages."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.messages.chapters import Chapter

SECTION = "messages"
"""The section's mark in the page."""
METHOD = (
    (
        "Each server runs alone on one core, in turn A B C … A B C …, started afresh for every round; one process "
        "on the other core is everybody: it connects, speaks, and notes down what came to whom and when, which it "
        "reads only afterwards. A message has {content} bytes of content with the moment of its sending in it; "
        "delays are those to **all** receivers. {rounds} rounds of {seconds:g} s after a warm-up of 2 s. A single "
        "delivery that is missing, comes twice or reaches the wrong person ends the run without a table, and so "
        "does a load that needs more than 85 % of its core."
    ),
    (
        "All check a JWT (HS256) of each connection, keep rooms and who is in them, speak JSON in text frames, "
        "acknowledge each message to its sender and ask silent connections for a sign of life; no compression. "
        "**Teahouse stores every message in SQLite, on disk, with its number in the conversation, before it "
        "acknowledges and delivers it; the others, but one, keep it in memory only until it is passed on.** The hub on "
        "gorilla/websocket (`bench/peers/messages-hub`) has two goroutines a connection, prepared messages and "
        "shared write buffers; “storing” is the same with each message in SQLite first (`mattn/go-sqlite3`, WAL, "
        "`synchronous=FULL`), in transactions that all messages of a moment share: the work that Teahouse does. The "
        "hub on `ws` (`bench/peers/messages-ws`) is one process of Node. Centrifugo is the published program as it "
        "comes, with its memory engine and no history, shared write buffers, and a namespace in which people may "
        "publish."
    ),
    (
        "CPU µs is the server's user and system time for a delivery, storing and acknowledging included; load µs is "
        "that of the load. Figures are medians; ratios are Teahouse against the peer, round by round: median "
        "(least–greatest). Per CPU second × above 1: Teahouse delivers more for its CPU. p99 × below 1: its slow "
        "deliveries come sooner."
    ),
)


def show(console: Console, chapters: Sequence[Chapter]) -> None:
    """Prints them."""
    for chapter in chapters:
        console.print(f"\n[bold]{chapter.title}[/]\n[dim]{chapter.does}[/]", highlight=False)
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for place, head in enumerate(chapter.heads):
            table.add_column(head, justify="right" if place else "left", overflow="fold")
        for row in chapter.rows:
            table.add_row(*row)
        console.print(table)
        for fact in chapter.facts:
            console.print(f"  {fact}", highlight=False)
        for target in chapter.targets:
            style, word = ("green", "reached") if target.reached else ("red", "not reached")
            console.print(f"  [{style}]{word}[/]: {target.text}", highlight=False)


def method(content: int, rounds: int, seconds: float) -> list[str]:
    """How it is measured, in paragraphs; ``content`` in bytes, ``seconds`` of a round."""
    return [paragraph.format(content=content, rounds=rounds, seconds=seconds) for paragraph in METHOD]


def markdown(chapters: Sequence[Chapter], method: str, machine: Mapping[str, str], commit: str, today: datetime) -> str:
    """The section, without its marks."""
    about = ", ".join(f"{name} {value}" for name, value in machine.items())
    lines = [
        "## Messages",
        "",
        f"`python -m bench.messages --write`, {today.astimezone(UTC):%Y-%m-%d}, commit `{commit}`. {about}.",
    ]
    for paragraph in method:
        lines += ["", paragraph]
    for chapter in chapters:
        lines += ["", *_lines(chapter)]
    return "\n".join(lines)


def _lines(chapter: Chapter) -> list[str]:
    lines = [f"### {chapter.title}", "", chapter.does, ""]
    lines += ["| " + " | ".join(chapter.heads) + " |", "|---" + "|---:" * (len(chapter.heads) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in chapter.rows]
    told = [f"- {fact}" for fact in chapter.facts]
    told += [
        f"- Target, {'reached' if target.reached else '**not reached**'}: {target.text}." for target in chapter.targets
    ]
    return [*lines, "", *told] if told else lines
