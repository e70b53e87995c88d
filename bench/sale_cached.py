"""A sale that everybody looks at: ours from its layered cache, the Gin program's from its own, a second old at most."""

from collections.abc import Callable
from pathlib import Path

from bench import scenarios
from bench.figures import rate_ratio
from bench.machine import Cores
from bench.outcome import OURS, Effort, Outcome, Target
from bench.peers.shops import GO_REDIS
from bench.sameness import Question
from bench.scaled import running
from bench.scenarios import Comparison

TITLE = "A cached sale"
PEER = GO_REDIS
DOES = (
    "`GET /v1/sales/{id}` of a sale in Redis, 64 connections, access logs on. Both answer from memory what is at most "
    "a second old, with the server's time of each request in it; the Gin program reads Redis through go-redis."
)


def run(*, folder: Path, cores: Cores, effort: Effort, binary: Path, advance: Callable[[str], None]) -> list[Outcome]:
    """Raises BenchFailed when the two do not give the same sale, or an answer is wrong or missing."""
    advance("starting engines and servers")
    with running(folder, cores, binary, [PEER]) as stage:
        sale = stage.shop.sell(1_000)
        stage.stock(stage.peers[0], sale)
        path = f"/v1/sales/{sale['id']}"
        questions = (
            Question("the sale", "GET", path),
            Question("no sale", "GET", f"/v1/sales/{'0' * 32}", right=(404,)),
        )
        comparison = Comparison(TITLE, DOES, "GET", path, questions, [PEER])
        for server in stage.servers:
            stage.log(server).empty()
        samples = scenarios.between(
            comparison, stage.servers, folder=folder, cores=cores, effort=effort, advance=advance
        )
    ratio = rate_ratio(samples[OURS], samples[PEER]).middle
    target = Target(f"at least 0.9 × the Gin program ({ratio:.2f})", ratio >= 0.9)
    return [Outcome(TITLE, DOES, samples, targets=[target])]


def steps(effort: Effort) -> int:
    """How often ``run`` calls ``advance`` on a quiet machine."""
    return 1 + scenarios.steps(2, effort)
