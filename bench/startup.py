"""How soon the whole server is ready, and what it weighs while nothing happens."""

import time
from collections.abc import Callable
from pathlib import Path

from bench import teahouse
from bench.figures import Spread
from bench.machine import Cores
from bench.outcome import OURS, Outcome, Target
from bench.servers import started

TITLE = "Start and rest"
STARTS = 5
REST_SECONDS = 2.0
READY_WITHIN_SECONDS = 1.0
RESIDENT_BELOW_BYTES = 90_000_000
DOES = (
    "`teahouse serve` with all features on the embedded default: from the start of the process to the first 200 of "
    f"`/readyz`, {STARTS} starts on a disk and data directory that are warm; then its resident memory after "
    f"{REST_SECONDS:g} s without requests."
)


def run(*, folder: Path, cores: Cores, advance: Callable[[str], None]) -> Outcome:
    """Starts once for the data directory and the disk's cache, then measures."""
    advance("making the data directory")
    _start(folder, cores, rest=False)
    seconds: list[float] = []
    resident: list[float] = []
    for number in range(1, STARTS + 1):
        advance(f"start {number}")
        took, weighs = _start(folder, cores, rest=True)
        seconds.append(took)
        resident.append(weighs)
    ready, weight = Spread.of(seconds), Spread.of(resident)
    facts = [
        f"Ready after {ready.middle:.2f} s (median; {ready.low:.2f} to {ready.high:.2f} s).",
        f"Resident at rest: {weight.middle / 1e6:.1f} MB (median; {weight.low / 1e6:.1f} to {weight.high / 1e6:.1f}).",
    ]
    targets = [
        Target("ready within 1 s", ready.middle <= READY_WITHIN_SECONDS),
        Target("under 90 MB resident", weight.middle < RESIDENT_BELOW_BYTES),
    ]
    return Outcome(TITLE, DOES, {}, facts, targets)


def steps() -> int:
    """How often ``run`` calls ``advance``."""
    return STARTS + 1


def _start(folder: Path, cores: Cores, *, rest: bool) -> tuple[float, float]:
    plan = teahouse.whole(OURS, folder)
    begin = time.perf_counter()
    with started(plan, core=cores.server, pause=0.002) as server:
        took = time.perf_counter() - begin
        if rest:
            time.sleep(REST_SECONDS)
        return took, float(server.resident_bytes())
