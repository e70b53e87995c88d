"""The load as it goes: bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

from time import perf_counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Bars:
    """Drawn by a thread of Rich's; ``with`` it."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<26}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            # Every drawing costs the load a moment of its core.
            refresh_per_second=2,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, title: str, total: int) -> None:
        """A new bar."""
        self._task = self._progress.add_task(title, total=total)

    def advance(self, steps: int = 1) -> None:
        """The bar grows."""
        if self._task is not None:
            self._progress.advance(self._task, steps)

    def end(self) -> None:
        """The bar stands still."""
        if self._task is not None:
            self._progress.stop_task(self._task)
            self._task = None


class Lines:
    """One line for each part, when it is over."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title = ""
        self._total = self._done = 0
        self._began = 0.0

    def begin(self, title: str, total: int) -> None:
        """Remembers what it is."""
        self._title, self._total, self._done, self._began = title, total, 0, perf_counter()

    def advance(self, steps: int = 1) -> None:
        """Counts."""
        self._done += steps

    def end(self) -> None:
        """Says how it went."""
        seconds = perf_counter() - self._began
        count = f"{self._done:,}/{self._total:,}"
        self._console.print(f"{self._title:<26} {count:>21} {seconds:8.2f} s", highlight=False)
