"""Purchases on the embedded default: durable before the answer, and nothing lost or sold twice afterwards."""

from collections.abc import Callable
from pathlib import Path

from bench import shops, teahouse
from bench.access_log import AccessLog
from bench.failures import BenchFailed
from bench.figures import Sample, Spread
from bench.machine import Cores
from bench.outcome import OURS, Effort, Outcome, Target
from bench.rounds import quietest
from bench.servers import started
from bench.shops import BUYERS

TITLE = "Purchases on the embedded default"
CONNECTIONS = 256
WARM_UP = 5_000
FASTEST = 60_000
"""Purchases a second that nobody expects to reach: the stock is made for it."""
DOES = (
    f"`POST /v1/sales/{{id}}/purchases` with a buyer's JWT and an `Idempotency-Key` of its own: {BUYERS:,} buyers, "
    f"{CONNECTIONS} connections, the access log on. Each 202 is on disk (SQLite, WAL, `synchronous=FULL`) before it is "
    "sent; the table of orders grows from round to round. Afterwards the reconciliation must show as many orders as "
    "there were 202s, and no difference."
)


def run(*, folder: Path, cores: Cores, effort: Effort, advance: Callable[[str], None]) -> Outcome:
    """Raises BenchFailed when a purchase is refused, or the books do not add up at the end."""
    plan = teahouse.whole(OURS, folder)
    with started(plan, core=cores.server) as server:
        advance("opening the shop")
        shop = shops.opened(server, folder)
        sale = shop.sell(WARM_UP + round(FASTEST * effort.seconds) * 2 * effort.rounds)["id"]
        log = AccessLog(server.plan.log) if server.plan.log else None
        advance("warming up")
        warm_up = shops.buy(server, shop.purchases(sale, WARM_UP, connections=CONNECTIONS, prefix="bench-0-"), cores)
        count = max(WARM_UP, round(warm_up.rate * effort.seconds))
        accepted = WARM_UP

        def play(number: int) -> list[Sample]:
            nonlocal accepted
            advance(f"round {number}")
            wanted = shop.purchases(sale, count, connections=CONNECTIONS, prefix=f"bench-{number}-")
            sample = shops.buy(server, wanted, cores)
            accepted += count
            if log:
                log.settle(server, count)
            return [sample]

        samples = [sample for (sample,) in quietest(effort.rounds, play)]
        books = shop.books(sale)
    _balance(books, accepted)
    fact = f"Reconciliation after {accepted:,} accepted purchases: {books['orders']:,} orders, difference 0."
    rate = Spread.of([sample.rate for sample in samples]).middle
    target = Target("at least 10,000 purchases a second, difference 0", rate >= 10_000)
    return Outcome(TITLE, DOES, {OURS: samples}, [fact], [target])


def steps(effort: Effort) -> int:
    """How often ``run`` calls ``advance`` on a quiet machine."""
    return effort.rounds + 2


def _balance(books: dict[str, int], accepted: int) -> None:
    if books["difference"] != 0 or books["orders"] != accepted:
        raise BenchFailed(f"{accepted} purchases were accepted, but the books say {books}")
