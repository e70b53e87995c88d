"""The day as it goes: bars and counters on a terminal, plain lines anywhere else."""

from __future__ import annotations

from time import perf_counter
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from teahouse.demo.ledger import Kind, Ledger
from teahouse.demo.report import percentile
from teahouse.demo.stage import Phase
from teahouse.demo.talk import Talk

_FRAMES_A_SECOND = 8
_NARROW = 70
# So many of the latest requests say how fast it is now.
_LATEST = 500


class LiveStage:
    """Bars and counters, drawn by a thread of Rich's; ``with`` it."""

    def __init__(self, console: Console, ledger: Ledger) -> None:
        narrow = console.width < _NARROW
        columns = [TextColumn("{task.description}"), BarColumn(bar_width=10 if narrow else 28), MofNCompleteColumn()]
        if not narrow:
            columns.append(TimeElapsedColumn())
        self._progress = Progress(*columns, console=console)
        self._ledger = ledger
        self._task: TaskID | None = None
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=_FRAMES_A_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def begin(self, phase: Phase, total: int) -> None:
        """A new bar."""
        self._task = self._progress.add_task(phase.value, total=total)

    def advance(self) -> None:
        """The bar grows."""
        if self._task is not None:
            self._progress.advance(self._task)

    def end(self) -> None:
        """The bar stands still."""
        if self._task is not None:
            self._progress.stop_task(self._task)
            self._task = None

    def _render(self) -> RenderableType:
        return Group(self._progress, Text(), *counters(self._ledger))


def counters(ledger: Ledger) -> list[Text]:
    """Where the stock is, who was refused and how fast the latest purchases were answered."""
    lines = []
    if ledger.books:
        books = ledger.books[-1]
        words = [(f"{books.sold} sold", "green"), (f"{books.reserved} reserved", "yellow")]
        words += [(f"{books.remaining} remaining", "cyan"), (f"difference {books.difference}", "bold")]
        lines.append(_line(words))
    if ledger.refused:
        lines.append(_line([(f"{slug} {count}", "") for slug, count in ledger.refused.most_common()]))
    lines += _room(ledger.talk)
    latest = sorted(ledger.seconds[Kind.PURCHASE][-_LATEST:])
    if latest:
        p50, p99 = (percentile(latest, share) * 1000 for share in (0.50, 0.99))
        lines.append(_line([(f"purchases: p50 {p50:.1f} ms", "dim"), (f"p99 {p99:.1f} ms", "dim")]))
    return lines


def _room(talk: Talk) -> list[Text]:
    if not talk.sockets:
        return []
    told = sum(heard.by_push for heard in talk.heard.values())
    words = [(f"{talk.sockets} sockets", ""), (f"{talk.tally.sent} messages", "")]
    return [_line([*words, (f"{talk.tally.delivered} delivered", "green"), (f"{told} results pushed", "green")])]


class PlainStage:
    """One line for each phase, when it is over."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase: Phase | None = None
        self._total = self._done = 0
        self._began = 0.0

    def begin(self, phase: Phase, total: int) -> None:
        """Remembers what it is."""
        self._phase, self._total, self._done, self._began = phase, total, 0, perf_counter()

    def advance(self) -> None:
        """Counts."""
        self._done += 1

    def end(self) -> None:
        """Says how it went."""
        if self._phase is not None:
            seconds = perf_counter() - self._began
            count = f"{self._done}/{self._total}"
            self._console.print(f"{self._phase.value:<34} {count:>11} {seconds:6.2f} s", highlight=False)


def _line(words: list[tuple[str, str]]) -> Text:
    return Text("  ").join(Text(word, style) for word, style in words)
