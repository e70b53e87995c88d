"""Does a purchase cost more after a million others? And what does a live reservation weigh in Redis?"""

from collections.abc import Callable
from pathlib import Path

from bench.figures import Sample, Spread, cpu_ratio, engine_ratio
from bench.machine import Cores
from bench.outcome import OURS, Effort, Outcome, Target
from bench.rounds import quietest
from bench.scaled import REDIS, Scaled, running

TITLE = "After a million reservations"
AFTER = f"{OURS}, 10⁶ sold"
BEFORE_COUNT = 1_000_000
STEP = 100_000
"""Reservations that are made before the recorder gets time to follow."""
ROUND = 50_000
"""Purchases of a round: few enough that what is sold meanwhile does not matter beside a million."""
CONNECTIONS = 256
GROWTH = 1.1
"""What counts as not growing: rounds of one and the same server differ by as much."""
DOES = (
    f"The purchase of the scenarios above, {CONNECTIONS} connections, on two servers with engines of their own, in "
    f"turn: {ROUND:,} purchases of a fresh sale, and {ROUND:,} of a sale in which {BEFORE_COUNT:,} other buyers hold a "
    "reservation each. All earlier orders are in the database before a round begins."
)


def run(*, folder: Path, cores: Cores, effort: Effort, binary: Path, advance: Callable[[str], None]) -> list[Outcome]:
    """Two servers with engines of their own, in turn. Raises BenchFailed when an order is missing or the books do not
    add up.
    """
    advance("starting engines and servers")
    with running(folder / "empty", cores, binary, []) as empty, running(folder / "full", cores, binary, []) as full:
        advance("a million reservations")
        sale = full.shop.sell(BEFORE_COUNT + ROUND * (2 * effort.rounds + 1))["id"]
        weight = _fill(full, sale)

        def play(number: int) -> list[Sample]:
            advance(f"round {number}, a fresh sale")
            before = _buy(empty, empty.shop.sell(2 * ROUND)["id"], number)
            advance(f"round {number}, after a million")
            return [before, _buy(full, sale, number)]

        play(0)
        rounds = quietest(effort.rounds, play)
    before, after = ([each[place] for each in rounds] for place in (0, 1))
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
    return 4 + 2 * effort.rounds


def _buy(stage: Scaled, sale: str, number: int) -> Sample:
    return stage.ours(stage.shop.purchases(sale, ROUND, connections=CONNECTIONS, prefix=f"growth-{number}-"))


def _fill(stage: Scaled, sale: str) -> float:
    """Bytes a reservation."""
    empty = stage.redis.used_bytes()
    for made in range(0, BEFORE_COUNT, STEP):
        stage.fill(sale, min(STEP, BEFORE_COUNT - made))
    return (stage.redis.used_bytes() - empty) / BEFORE_COUNT


def _span(spread: Spread) -> str:
    return f"{spread.low:.2f}–{spread.high:.2f}"
