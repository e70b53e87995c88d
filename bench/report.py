"""The figures as tables: on the terminal and in docs/benchmarks.md."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.figures import Sample, Spread, cpu_ratio, engine_ratio, p99_ratio, rate_ratio
from bench.outcome import Effort, Outcome
from bench.rounds import QUIET

COLUMNS = ("server", "requests/s", "p50 ms", "p99 ms", "CPU µs", "busy", "MB", "throughput ×", "CPU ×", "p99 ×")
MEASURED = 7
"""The first columns are a server's own, the others compare it with ours."""
METHOD = (
    "The servers run in turn, A B C A B C …, each alone on one core; `wrk` has the other one. {rounds} rounds of "
    "{seconds:g} s after a warm-up. First every server is asked the same questions, right and wrong ones, and must "
    "give the same answers; a single unexpected answer, or one request missing in an access log, ends the run without "
    "a table. A round in which other programs used more than {quiet:.0%} of the two cores is measured again, as long "
    "as that does not double the rounds; which rounds count is decided by that share alone."
)
READING = (
    "Figures are medians of the rounds; CPU is the server's user and system time per request. Ratios are Teahouse "
    "against the peer, taken round by round: median (least–greatest). Throughput × above 1: Teahouse answers more. "
    "CPU × above 1: it spends less. p99 × below 1: its slow answers come sooner. Busy is the share of its core that "
    "the server used: well under 100 % something else set the limit, the disk for instance. Where engines run behind "
    "the server, their CPU per request has columns of its own; engine × above 1: Teahouse asks less of it."
)


def engines(outcome: Outcome) -> list[str]:
    """The engines behind every server of the scenario."""
    each = [set(sample.engine_seconds) for samples in outcome.samples.values() for sample in samples]
    return sorted(set.intersection(*each)) if each else []


def columns(outcome: Outcome) -> tuple[str, ...]:
    """Of the scenario's table: those of ``COLUMNS``, and what its engines used."""
    names = engines(outcome)
    measured, compared = COLUMNS[:MEASURED], COLUMNS[MEASURED:]
    return (*measured, *(f"{name} µs" for name in names), *compared, *(f"{name} ×" for name in names))


def rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """One row a server, in the order of ``columns``."""
    names = engines(outcome)
    ours, *peers = outcome.samples.items()
    nothing = ("–",) * (len(COLUMNS) - MEASURED + len(names))
    return [(*_measured(*ours, names), *nothing), *(_compared(ours[1], *peer, names) for peer in peers)]


def disturbance(outcome: Outcome) -> str:
    """A warning when the rounds that were kept were not quiet, else nothing."""
    shares = [sample.others for samples in outcome.samples.values() for sample in samples]
    if not shares or max(shares) <= QUIET:
        return ""
    loud = sum(share > QUIET for share in shares)
    return (
        f"In {loud} of {len(shares)} measurements other programs used more than {QUIET:.0%} of the two cores "
        f"(up to {max(shares):.0%}): trust CPU ×, not throughput or p99."
    )


def show(console: Console, outcome: Outcome) -> None:
    """Prints a scenario."""
    console.print()
    console.print(outcome.title, style="bold")
    own = MEASURED + len(engines(outcome))
    if outcome.samples:
        console.print(_table(columns(outcome)[:own], [row[:own] for row in rows(outcome)]))
    if len(outcome.samples) > 1:
        ratios = [(row[0], *row[own:]) for row in rows(outcome)[1:]]
        console.print(_table(("Teahouse against", *columns(outcome)[own:]), ratios))
    for fact in _facts(outcome):
        console.print(f"  {fact}", highlight=False)
    for target in outcome.targets:
        style, word = ("green", "reached") if target.reached else ("red", "not reached")
        console.print(f"  [{style}]{word}[/]: {target.text}", highlight=False)


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


def markdown(outcomes: Sequence[Outcome], machine: Mapping[str, str], effort: Effort, today: datetime) -> str:
    """The whole page."""
    about = [f"| {name} | {value} |" for name, value in machine.items()]
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {today.astimezone(UTC):%Y-%m-%d}; a figure that is bad stays in the table.",
        "",
        "![Throughput by scenario and server](benchmarks.svg)",
        "",
        "| machine and versions | |",
        "|---|---|",
        *about,
        "",
        "## How it is measured",
        "",
        METHOD.format(rounds=effort.rounds, seconds=effort.seconds, quiet=QUIET),
        "",
        READING,
        "",
        "```sh",
        "make bench                                   # the tables on the terminal",
        ".venv/bin/python -m bench --write            # and this page",
        ".venv/bin/python -m bench --scenario get     # one scenario; --help lists them",
        "scripts/bench messages                       # WebSockets; --write writes that section of this page",
        "```",
        "",
        "The peers are in `bench/peers/`, Teahouse's side of the first two scenarios is `examples/hello.py`.",
    ]
    for outcome in outcomes:
        lines += ["", *_section(outcome)]
    return "\n".join(lines) + "\n"


def _facts(outcome: Outcome) -> list[str]:
    return [fact for fact in (*outcome.facts, disturbance(outcome)) if fact]


def _section(outcome: Outcome) -> list[str]:
    lines = [f"## {outcome.title}", "", outcome.does, ""]
    if outcome.samples:
        heads = columns(outcome)
        lines += ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in rows(outcome)]
        lines.append("")
    lines += [f"- {fact}" for fact in _facts(outcome)]
    lines += [
        f"- Target, {'reached' if target.reached else '**not reached**'}: {target.text}." for target in outcome.targets
    ]
    return lines


def _measured(name: str, samples: Sequence[Sample], behind: Sequence[str]) -> tuple[str, ...]:
    def middle(values: Sequence[float]) -> float:
        return Spread.of(values).middle

    return (
        name,
        f"{middle([sample.rate for sample in samples]):,.0f}",
        f"{middle([sample.p50_ms for sample in samples]):.2f}",
        f"{middle([sample.p99_ms for sample in samples]):.2f}",
        f"{middle([sample.cpu_us for sample in samples]):.1f}",
        f"{middle([sample.busy for sample in samples]):.0%}",
        f"{middle([sample.resident_bytes for sample in samples]) / 1e6:.0f}",
        *(f"{middle([sample.engine_us(each) for sample in samples]):.1f}" for each in behind),
    )


def _compared(ours: Sequence[Sample], name: str, peers: Sequence[Sample], behind: Sequence[str]) -> tuple[str, ...]:
    ratios = [rate_ratio(ours, peers), cpu_ratio(ours, peers), p99_ratio(ours, peers)]
    ratios += [engine_ratio(ours, peers, each) for each in behind]
    return (*_measured(name, peers, behind), *(_ratio(ratio) for ratio in ratios))


def _ratio(ratio: Spread) -> str:
    return f"{ratio.middle:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"
