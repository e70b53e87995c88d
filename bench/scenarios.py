"""The scenarios that have a peer, and how one is run: A B C, A B C, …"""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import load, sameness, teahouse
from bench.access_log import AccessLog
from bench.figures import Sample, p99_ratio, rate_ratio
from bench.machine import Cores
from bench.outcome import OURS, Effort, Outcome, Target
from bench.peers import gin
from bench.rounds import measure, quietest
from bench.servers import Plan, Server, started

DEFAULT = "gin.Default()"
BARE = "bare Gin"
SONIC = "gin.Default(), sonic"
BARE_SONIC = "bare Gin, sonic"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One kind of request, sent to Teahouse and to its peers."""

    title: str
    does: str
    method: str
    path: str
    questions: Sequence[sameness.Question]
    peers: Sequence[str]
    body: bytes | None = None
    connections: int = 64


JSON_GET = Comparison(
    title="JSON GET with a path parameter",
    does='`GET /user/42` → `{"id":"42"}`. Teahouse with access log, recovery, metrics and request ids; '
    "`gin.Default()` with its access log and recovery; bare Gin with neither. 64 connections.",
    method="GET",
    path="/user/42",
    questions=sameness.GET_QUESTIONS,
    peers=(DEFAULT, BARE),
)
JSON_POST = Comparison(
    title="Validated JSON POST",
    does="`POST /submit`: four fields (length, pattern, range, list of strings), unknown fields refused; 201 with "
    "the submission and a random id. “sonic” is Gin built with the faster JSON library it offers. 64 connections.",
    method="POST",
    path="/submit",
    questions=sameness.POST_QUESTIONS,
    peers=(DEFAULT, BARE, SONIC, BARE_SONIC),
    body=json.dumps(sameness.SUBMISSION).encode(),
)


def plans(names: Sequence[str], binaries: dict[str, Path], folder: Path) -> list[Plan]:
    """How to start the servers of these names."""
    known: dict[str, Callable[[str], Plan]] = {
        OURS: lambda name: teahouse.hello(name, folder),
        DEFAULT: lambda name: gin(name, binaries["stock"], "default", folder),
        BARE: lambda name: gin(name, binaries["stock"], "bare", folder),
        SONIC: lambda name: gin(name, binaries["sonic"], "default", folder),
        BARE_SONIC: lambda name: gin(name, binaries["sonic"], "bare", folder),
    }
    return [known[name](name) for name in names]


def compare(
    comparison: Comparison,
    plans: Sequence[Plan],
    *,
    folder: Path,
    cores: Cores,
    effort: Effort,
    advance: Callable[[str], None],
) -> Outcome:
    """Runs the scenario. ``advance`` is told what was just done, once a step (see ``steps``).

    Raises BenchFailed when two servers do not do the same work, or an answer is wrong or missing.
    """
    with ExitStack() as stack:
        servers = [stack.enter_context(started(plan, core=cores.server)) for plan in plans]
        samples = between(comparison, servers, folder=folder, cores=cores, effort=effort, advance=advance)
    return Outcome(comparison.title, comparison.does, samples, targets=_targets(samples))


def between(
    comparison: Comparison,
    servers: Sequence[Server],
    *,
    folder: Path,
    cores: Cores,
    effort: Effort,
    advance: Callable[[str], None],
) -> dict[str, list[Sample]]:
    """The samples of servers that run already, by name. Raises as ``compare`` does."""
    sameness.check(servers, comparison.questions)
    logs = {server: AccessLog(server.plan.log) for server in servers if server.plan.log}
    for server in servers:
        advance(f"warming up {server.plan.name}")
        _round(server, _load(comparison, server, effort.warm_up_seconds, folder), logs, cores)

    def play(number: int) -> list[Sample]:
        samples = []
        for server in servers:
            advance(f"round {number}: {server.plan.name}")
            samples.append(_round(server, _load(comparison, server, effort.seconds, folder), logs, cores))
        return samples

    rounds = quietest(effort.rounds, play)
    return {server.plan.name: [each[place] for each in rounds] for place, server in enumerate(servers)}


def _targets(samples: dict[str, list[Sample]]) -> list[Target]:
    ours, peers = samples[OURS], samples[DEFAULT]
    return [
        Target(f"at least the throughput of {DEFAULT}", rate_ratio(ours, peers).middle >= 1),
        Target(f"a p99 no worse than that of {DEFAULT}", p99_ratio(ours, peers).middle <= 1),
    ]


def steps(servers: int, effort: Effort) -> int:
    """How often ``compare`` calls ``advance`` on a quiet machine."""
    return servers * (effort.rounds + 1)


def _round(server: Server, wanted: load.Load, logs: dict[Server, AccessLog], cores: Cores) -> Sample:
    sample = measure(server, wanted, cores)
    if log := logs.get(server):
        log.settle(server, sample.requests)
    return sample


def _load(comparison: Comparison, server: Server, seconds: float, folder: Path) -> load.Load:
    arguments = [comparison.method]
    if comparison.body is not None:
        body = folder / "body.json"
        body.write_bytes(comparison.body)
        arguments.append(str(body))
    return load.Load(
        url=server.url + comparison.path,
        connections=comparison.connections,
        seconds=seconds,
        script="same.lua",
        arguments=tuple(arguments),
    )
