"""``python -m bench``: builds the peers, measures, prints the tables, writes the page when asked to."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import chart, growth, purchases, purchases_redis, readme, report, sale_cached, scenarios, sections, startup
from bench.failures import BenchFailed
from bench.load import require_wrk
from bench.machine import Cores, describe, two_cores
from bench.outcome import OURS, Effort, Outcome
from bench.peers import SHOP, build_gin, build_shop

ROOT = Path(__file__).resolve().parents[1]
# Not in /tmp: that may be memory, and a durable purchase must reach a disk.
WORK = ROOT / "build" / "bench"
NAMES = ("get", "post", "purchases", "purchases-redis", "sale-cached", "growth", "startup")
COMPARED = {"get": scenarios.JSON_GET, "post": scenarios.JSON_POST}
ON_REDIS = {"purchases-redis": purchases_redis, "sale-cached": sale_cached, "growth": growth}


def main() -> int:
    """Exit status 0: measured; 1: no figures, and why on standard error."""
    options = _options()
    # A table that goes to a file need not fit a terminal.
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        require_wrk()
        outcomes = _measure(options.scenario or NAMES, Effort(options.rounds, options.seconds), console)
    except BenchFailed as failed:
        Console(stderr=True).print(f"[red]bench:[/] {failed}", highlight=False)
        return 1
    for outcome in outcomes:
        report.show(console, outcome)
    console.print(f"\n{report.READING}", style="dim", highlight=False)
    if options.write:
        _write(outcomes, Effort(options.rounds, options.seconds))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Teahouse against its peers on this machine.")
    parser.add_argument("--rounds", type=_at_least_one, default=5, help="rounds a server (default 5)")
    parser.add_argument("--seconds", type=_at_least_one, default=5, help="seconds a round (default 5)")
    parser.add_argument("--scenario", choices=NAMES, action="append", help="only this one; may be given again")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.* and the READMEs")
    options = parser.parse_args()
    if options.write and options.scenario:
        parser.error("--write publishes a whole run: leave --scenario away")
    return options


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _measure(names: Sequence[str], effort: Effort, console: Console) -> list[Outcome]:
    cores = two_cores()
    WORK.mkdir(parents=True, exist_ok=True)
    binaries = build_gin(WORK) if COMPARED.keys() & set(names) else {}
    if ON_REDIS.keys() & set(names):
        binaries["shop"] = build_shop(WORK)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    outcomes: list[Outcome] = []
    with Progress(*columns, console=console, refresh_per_second=2) as progress:
        for name in names:
            with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=WORK) as folder:
                outcomes.extend(_scenario(name, Path(folder), binaries, cores, effort, progress))
            progress.update(progress.task_ids[-1], completed=progress.tasks[-1].total, description=name)
    return outcomes


def _scenario(
    name: str, folder: Path, binaries: dict[str, Path], cores: Cores, effort: Effort, progress: Progress
) -> list[Outcome]:
    if name == "startup":
        return [startup.run(folder=folder, cores=cores, advance=_bar(progress, name, startup.steps()))]
    if name == "purchases":
        advance = _bar(progress, name, purchases.steps(effort))
        return [purchases.run(folder=folder, cores=cores, effort=effort, advance=advance)]
    if name in ON_REDIS:
        scenario = ON_REDIS[name]
        advance = _bar(progress, name, scenario.steps(effort))
        return scenario.run(folder=folder, cores=cores, effort=effort, binary=binaries["shop"], advance=advance)
    comparison = COMPARED[name]
    plans = scenarios.plans((OURS, *comparison.peers), binaries, folder)
    advance = _bar(progress, name, scenarios.steps(len(plans), effort))
    return [scenarios.compare(comparison, plans, folder=folder, cores=cores, effort=effort, advance=advance)]


def _bar(progress: Progress, name: str, steps: int) -> Callable[[str], None]:
    task = progress.add_task(name, total=steps)
    said = iter(range(steps))

    def advance(doing: str) -> None:
        progress.update(task, completed=next(said, steps), description=f"{name}: {doing}")

    return advance


def _write(outcomes: Sequence[Outcome], effort: Effort) -> None:
    docs = ROOT / "docs"
    docs.mkdir(exist_ok=True)
    page = report.markdown(outcomes, describe(SHOP, WORK), effort, datetime.now(UTC))
    file = docs / "benchmarks.md"
    file.write_text(sections.kept(file.read_text() if file.exists() else "", page))
    (docs / "benchmarks.svg").write_text(chart.svg(outcomes))
    readme.refresh()


if __name__ == "__main__":
    sys.exit(main())
