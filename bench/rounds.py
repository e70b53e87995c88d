"""Rounds: send the load, weigh the server over exactly that time, and prefer the rounds that nothing disturbed."""

import resource
import time
from collections.abc import Callable, Mapping, Sequence

from bench import load
from bench.failures import BenchFailed
from bench.figures import Sample
from bench.machine import Cores, busy_seconds
from bench.servers import Processes, Server

QUIET = 0.05
"""Share of the two cores that everything else may use in a round that counts as quiet."""


def measure(server: Server, wanted: load.Load, cores: Cores, engines: Mapping[str, Processes] | None = None) -> Sample:
    """Raises BenchFailed when an answer was refused or never came. ``engines`` are those behind the server, by name."""
    weighed = engines or {}
    before = {name: engine.cpu_seconds() for name, engine in weighed.items()}
    begin, server_before, wrk_before, all_before = (
        time.monotonic(), server.cpu_seconds(), _wrk_seconds(), busy_seconds(cores)
    )  # fmt: skip
    answered = load.run(wanted, core=cores.load)
    spent = server.cpu_seconds() - server_before
    behind = {name: engine.cpu_seconds() - before[name] for name, engine in weighed.items()}
    others = busy_seconds(cores) - all_before - spent - sum(behind.values()) - (_wrk_seconds() - wrk_before)
    if answered.refused or answered.broken or not answered.requests:
        raise BenchFailed(
            f"{server.plan.name}: {answered.refused} refused and {answered.broken} broken "
            f"of {answered.requests} requests"
        )
    return Sample(
        requests=answered.requests,
        seconds=answered.seconds,
        p50_ms=answered.p50_ms,
        p99_ms=answered.p99_ms,
        cpu_seconds=spent,
        resident_bytes=server.resident_bytes(),
        others=max(0.0, others / (time.monotonic() - begin) / 2),
        engine_seconds=behind,
    )


def quietest(wanted: int, play: Callable[[int], Sequence[Sample]]) -> list[Sequence[Sample]]:
    """Plays rounds 1, 2, … until ``wanted`` were quiet, but no more than twice as many; returns the quietest, in order.

    ``play`` measures every server once. The choice looks at what others used, never at a result.
    """
    played: list[tuple[float, int, Sequence[Sample]]] = []
    for number in range(1, 2 * wanted + 1):
        samples = play(number)
        played.append((max(sample.others for sample in samples), number, samples))
        if sum(others <= QUIET for others, _, _ in played) == wanted:
            break
    kept = sorted(played, key=lambda each: each[0])[:wanted]
    return [samples for _, _, samples in sorted(kept, key=lambda each: each[1])]


def _wrk_seconds() -> float:
    # wrk is the only child that ends during a round; servers are weighed from /proc while they live.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
