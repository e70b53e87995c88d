"""One round: send the load, weigh the server over exactly that time."""

from bench import load
from bench.failures import BenchFailed
from bench.figures import Sample
from bench.machine import Cores
from bench.servers import Server


def measure(server: Server, wanted: load.Load, cores: Cores) -> Sample:
    """Raises BenchFailed when an answer was refused or never came."""
    before = server.cpu_seconds()
    answered = load.run(wanted, core=cores.load)
    spent = server.cpu_seconds() - before
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
    )
