"""``python -m bench.messages``: builds the peers, measures in turn, prints tables, writes the section if asked."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from bench import sections
from bench.__main__ import ROOT, WORK
from bench.failures import BenchFailed
from bench.machine import Cores, cpu_model, first_line, package, two_cores
from bench.messages import report
from bench.messages.books import CONTENT_BYTES
from bench.messages.chapters import chapters
from bench.messages.crowd import allow_files
from bench.messages.playing import Idle, Played, idle, play
from bench.messages.settings import CONNECTIONS, HELD, LARGE, SMALL, Setting
from bench.messages.sites import IDLE, SERVERS, Site, sites
from bench.outcome import OURS
from bench.peers.messages import HUB, build_messages, versions

R = TypeVar("R")
NAMES = (IDLE, LARGE.name, SMALL.name, HELD.name)
HELD_SECONDS = 60.0
WEIGHINGS = 2
"""Memory hardly differs from round to round."""
APART = 1_000_000
"""No round has so many messages."""
PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> int:
    """Exit status 0: measured; 1: no figures, and why on standard error."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        weighed, played = _measure(options, Console(stderr=True))
    except BenchFailed as failed:
        Console(stderr=True).print(f"[red]bench:[/] {failed}", highlight=False)
        return 1
    told = chapters(weighed, played)
    report.show(console, told)
    if options.write:
        method = report.method(CONTENT_BYTES, options.rounds, options.seconds)
        section = report.markdown(told, method, _machine(), _commit(), datetime.now(UTC))
        PAGE.write_text(sections.replaced(PAGE.read_text(), report.SECTION, section))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.messages", description="Teahouse's WebSockets against its peers on this machine."
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds a server (default 3)")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds a round (default 8)")
    parser.add_argument("--scenario", choices=NAMES, action="append", help="only this one; may be given again")
    parser.add_argument("--server", choices=SERVERS[1:], action="append", help="only this peer; may be given again")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    if options.write and (options.scenario or options.server):
        parser.error("--write publishes a whole run: leave --scenario and --server away")
    return options


def _measure(
    options: argparse.Namespace, console: Console
) -> tuple[dict[str, list[Idle]], dict[str, dict[str, list[Played]]]]:
    cores = two_cores()
    allow_files(CONNECTIONS)
    WORK.mkdir(parents=True, exist_ok=True)
    names = options.scenario or NAMES
    weighed: dict[str, list[Idle]] = {}
    played: dict[str, dict[str, list[Played]]] = {}
    with tempfile.TemporaryDirectory(prefix="messages-", dir=WORK) as folder:
        _say(console, "building the peers")
        programs = build_messages(WORK)
        # What is built may use both cores; from now on this process is the load.
        os.sched_setaffinity(0, {cores.load})
        _say(console, "people log in")
        found = sites((OURS, *(options.server or SERVERS[1:])), programs, Path(folder), cores)
        firsts = count(step=APART)
        if IDLE in names:
            weighed = _in_turn(found, min(options.rounds, WEIGHINGS), console, IDLE, lambda site: idle(site, cores))
        for setting in (LARGE, SMALL):
            if setting.name in names:
                once = _player(setting, options.seconds, cores, firsts)
                played[setting.name] = _in_turn(found, options.rounds, console, setting.name, once)
        if HELD.name in names:
            played[HELD.name] = _in_turn(found, 1, console, HELD.name, _holder(options.seconds, cores, firsts))
    return weighed, played


def _player(setting: Setting, seconds: float, cores: Cores, firsts: Iterator[int]) -> Callable[[Site], Played]:
    return lambda site: play(site, setting, seconds, cores, first=next(firsts))


def _holder(seconds: float, cores: Cores, firsts: Iterator[int]) -> Callable[[Site], Played]:
    return lambda site: play(site, HELD, HELD_SECONDS if site.name == OURS else seconds, cores, first=next(firsts))


def _in_turn(
    found: Sequence[Site], rounds: int, console: Console, what: str, once: Callable[[Site], R]
) -> dict[str, list[R]]:
    results: dict[str, list[R]] = {site.name: [] for site in found}
    for number in range(rounds):
        for site in found:
            _say(console, f"{what}, round {number + 1}: {site.name}")
            results[site.name].append(once(site))
    return results


def _say(console: Console, doing: str) -> None:
    # No bar that moves: it would run on the core of the load.
    console.print(f"{datetime.now(UTC):%H:%M:%S} {doing}", style="dim", highlight=False)


def _machine() -> dict[str, str]:
    return {
        "CPU": f"{cpu_model()}, {os.cpu_count()} cores",
        "Linux": os.uname().release,
        "Python": ".".join(map(str, sys.version_info[:3])),
        "uvloop": package("uvloop"),
        "msgspec": package("msgspec"),
        "Go": first_line(["go", "env", "GOVERSION"], HUB).removeprefix("go"),
        **versions(),
    }


def _commit() -> str:
    return subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip() or "unknown"  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
