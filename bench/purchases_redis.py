"""Purchases on Redis: ours with its recorder and database, the Go shops with three ways to speak to Redis."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import sameness
from bench.figures import Sample, Spread, engine_ratio, rate_ratio
from bench.machine import Cores
from bench.outcome import OURS, Effort, Outcome, Target
from bench.peers.shops import AUTOPIPELINE, GO_REDIS, RUEIDIS
from bench.rounds import quietest
from bench.sameness_shop import SALE_LIMIT, shop_questions
from bench.scaled import REDIS, Recorded, Scaled, running
from bench.servers import Server
from bench.shops import BUYERS

TITLE = "Purchases on Redis, {connections} connections"
DURABLE_TITLE = "Purchases on Redis, each on disk"
WARM_UP = 20_000
FASTEST = 120_000
"""Purchases a second that nobody expects to reach: the stock is made for it."""
DOES = (
    f"`POST /v1/sales/{{{{id}}}}/purchases` with a buyer's JWT and an `Idempotency-Key` of its own: {BUYERS:,} buyers, "
    "{connections} connections, access logs on, a fresh sale every round. Window, limit per buyer, stock, key, "
    "reservation and stream entry are one script in Redis 7 (`appendonly yes`, `appendfsync {fsync}`, the same for "
    "everybody), the very same file for everybody: Teahouse runs it once for the buyers of a moment, the Gin programs "
    "once for each request. Teahouse also records every order in MariaDB while it sells; of the Gin programs only the "
    "one that says so does. All engines share the core of the load."
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One table."""

    connections: int
    fsync: str = "everysec"

    @property
    def title(self) -> str:
        """As in the page."""
        return DURABLE_TITLE if self.fsync == "always" else TITLE.format(connections=self.connections)


SETTINGS = (Setting(64), Setting(256), Setting(256, "always"))


def run(*, folder: Path, cores: Cores, effort: Effort, binary: Path, advance: Callable[[str], None]) -> list[Outcome]:
    """One outcome for each of ``SETTINGS``.

    Raises BenchFailed when two servers do not do the same work, a purchase is refused, an order is missing in Redis
    or in the database, or the books do not add up.
    """
    advance("starting engines and servers")
    with running(folder, cores, binary) as stage:
        _same(stage)
        return [_measured(stage, setting, effort, advance) for setting in SETTINGS]


def steps(effort: Effort) -> int:
    """How often ``run`` calls ``advance`` on a quiet machine."""
    return 1 + len(SETTINGS) * 5 * (effort.rounds + 1)


def _same(stage: Scaled) -> None:
    for peer in stage.peers:
        sale = stage.shop.sell(1_000, limit=SALE_LIMIT)
        stage.stock(peer, sale)
        sameness.check([stage.server, peer], shop_questions(sale["id"], stage.shop.token))
    for server in stage.servers:
        stage.log(server).empty()


def _measured(stage: Scaled, setting: Setting, effort: Effort, advance: Callable[[str], None]) -> Outcome:
    for redis in (stage.redis, stage.site.redis, stage.recording.redis):
        redis.ask.config_set("appendfsync", setting.fsync)
    stage.recorded.clear()
    counts: dict[Server, int] = {}
    play = partial(_round, stage, setting, effort, counts, advance)
    for server, sample in zip(stage.servers, play(0), strict=True):
        counts[server] = max(WARM_UP, round(sample.rate * effort.seconds))
    stage.recorded.clear()
    rounds = quietest(effort.rounds, play)
    samples = {server.plan.name: [each[place] for each in rounds] for place, server in enumerate(stage.servers)}
    does = DOES.format(connections=setting.connections, fsync=setting.fsync)
    # The figures were set for the usual way; the last table shows what more safety costs everybody.
    aims = targets(samples) if setting.fsync == "everysec" else []
    return Outcome(setting.title, does, samples, facts(stage.recorded), aims)


def _round(
    stage: Scaled,
    setting: Setting,
    effort: Effort,
    counts: dict[Server, int],
    advance: Callable[[str], None],
    number: int,
) -> list[Sample]:
    sale = stage.shop.sell(round(FASTEST * max(effort.seconds, 1)))
    samples = []
    for server in stage.servers:
        advance(f"{setting.title}, round {number}: {server.plan.name}" if number else f"warming up {server.plan.name}")
        count = counts.get(server, WARM_UP)
        wanted = stage.shop.purchases(sale["id"], count, connections=setting.connections, prefix="bench-")
        if server is stage.server:
            samples.append(stage.ours(wanted))
            stage.forget(sale["id"])
        else:
            stage.stock(server, sale)
            samples.append(stage.theirs(server, wanted))
    return samples


def facts(recorded: Mapping[str, Sequence[Recorded]]) -> list[str]:
    """What the recorders did, and what a purchase costs with all of it."""
    orders = sum(each.orders for each in recorded[OURS])
    books = f"Reconciliation of every round: {orders:,} accepted purchases, as many orders in MariaDB, difference 0."
    return [books, *(_shaving(name, rounds) for name, rounds in recorded.items())]


def _shaving(name: str, rounds: Sequence[Recorded]) -> str:
    def middle(values: Iterable[float]) -> float:
        return Spread.of(list(values)).middle

    behind = Spread.of([each.behind_seconds for each in rounds])
    sold = middle(each.orders / each.selling_seconds for each in rounds)
    kept = middle(each.orders / (each.selling_seconds + each.behind_seconds) for each in rounds)
    server = middle(each.server_seconds / each.orders * 1e6 for each in rounds)
    redis = middle(each.redis_seconds / each.orders * 1e6 for each in rounds)
    database = middle(each.database_seconds / each.orders * 1e6 for each in rounds)
    return (
        f"{name}: sold at {sold:,.0f}/s, recorded at {kept:,.0f}/s; its recorder was done {behind.middle:.1f} s after "
        f"the last answer (median; {behind.low:.1f} to {behind.high:.1f} s). Until then, recording included, a "
        f"purchase cost {server:.1f} µs of CPU in the server, {redis:.1f} µs in Redis and {database:.1f} µs in MariaDB."
    )


def targets(samples: dict[str, list[Sample]]) -> list[Target]:
    """The figures that were set beforehand."""
    ours, plain = samples[OURS], samples[GO_REDIS]
    pipelined = {name: rate_ratio(ours, samples[name]).middle for name in (AUTOPIPELINE, RUEIDIS)}
    best = min(pipelined, key=lambda name: pipelined[name])
    twice, spared = rate_ratio(ours, plain).middle, engine_ratio(ours, plain, REDIS).middle
    return [
        Target(f"at least 2 × the throughput of {GO_REDIS} ({twice:.2f})", twice >= 2),
        Target(
            f"at least 1.2 × that of the fastest automatic pipelining, {best} ({pipelined[best]:.2f})",
            pipelined[best] >= 1.2,
        ),
        Target(f"at most a quarter of the Redis CPU of {GO_REDIS} (1/{spared:.1f})", spared >= 4),
    ]
