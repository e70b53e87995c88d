"""Does a purchase cost more after a million others? And what does a live reservation weigh in Redis?"""

from collections.abc import Callable
from pathlib import Path

from bench.figures import Sample, Spread, cpu_ratio, engine_ratio
from bench.machine import Cores
from bench.outcome import OURS, Effort, Outcome, Target
from bench.rounds import quietest
from bench.scaled import REDIS, Scaled, running

TITLE = "After a million reservations"
AFTER = f"{OURS}, 10⁶ reservations before"
BEFORE_COUNT = 1_000_000
STEP = 100_000
"""Reservations that are made before the recorder gets time to follow."""
WARM_UP = 20_000
FASTEST = 120_000
CONNECTIONS = 256
GROWTH = 1.1
"""What counts as not growing: rounds of one and the same server differ by as much."""
DOES = (
    f"The purchase of the scenarios above, {CONNECTIONS} connections: first rounds on fresh sales, then rounds on a "
    f"sale in which {BEFORE_COUNT:,} other buyers hold a reservation each. All orders are in the database before a "
    "round begins."
)


def run(*, folder: Path, cores: Cores, effort: Effort, binary: Path, advance: Callable[[str], None]) -> list[Outcome]:
    """Raises BenchFailed when an order is missing or the books do not add up."""
    advance("starting engines and servers")
    with running(folder, cores, binary, []) as stage:
        count = _warm_up(stage, effort, advance)

        def fresh(number: int) -> list[Sample]:
            advance(f"round {number}, a fresh sale")
            return [_buy(stage, stage.shop.sell(FASTEST * 60)["id"], count, f"fresh-{number}-")]

        before = [sample for (sample,) in quietest(effort.rounds, fresh)]
        advance("a million reservations")
        sale = stage.shop.sell(BEFORE_COUNT + FASTEST * 60)["id"]
        weight = _fill(stage, sale)

        def late(number: int) -> list[Sample]:
            advance(f"round {number}, after a million")
            return [_buy(stage, sale, count, f"late-{number}-")]

        after = [sample for (sample,) in quietest(effort.rounds, late)]
    return [outcome(before, after, weight)]


def outcome(before: list[Sample], after: list[Sample], weight: float) -> Outcome:
    """``weight``: bytes of Redis for a live reservation."""
    server, redis = cpu_ratio(before, after), engine_ratio(before, after, REDIS)
    facts = [
        (
            f"A live reservation takes {weight:.0f} bytes of Redis: the order, its key, its buyer's count, its time "
            "to pay; the log's entries have left for the database."
        ),
        (
            f"After a million, a purchase costs {server.middle:.2f} × the server's CPU ({_span(server)}) and "
            f"{redis.middle:.2f} × that of Redis ({_span(redis)})."
        ),
    ]
    target = Target(f"a worker's CPU for a purchase grows by less than {GROWTH - 1:.0%}", server.middle < GROWTH)
    return Outcome(TITLE, DOES, {OURS: before, AFTER: after}, facts, [target])


def steps(effort: Effort) -> int:
    """How often ``run`` calls ``advance`` on a quiet machine."""
    return 3 + 2 * effort.rounds


def _warm_up(stage: Scaled, effort: Effort, advance: Callable[[str], None]) -> int:
    advance("warming up")
    sample = _buy(stage, stage.shop.sell(WARM_UP)["id"], WARM_UP, "warm-")
    return max(WARM_UP, round(sample.rate * effort.seconds))


def _buy(stage: Scaled, sale: str, count: int, prefix: str) -> Sample:
    return stage.ours(stage.shop.purchases(sale, count, connections=CONNECTIONS, prefix=prefix))


def _fill(stage: Scaled, sale: str) -> float:
    """Bytes a reservation."""
    empty = stage.redis.used_bytes()
    for made in range(0, BEFORE_COUNT, STEP):
        stage.fill(sale, min(STEP, BEFORE_COUNT - made))
    return (stage.redis.used_bytes() - empty) / BEFORE_COUNT


def _span(spread: Spread) -> str:
    return f"{spread.low:.2f}–{spread.high:.2f}"
