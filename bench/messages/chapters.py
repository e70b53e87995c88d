"""What was measured as tables with their facts and targets: pure, for the terminal and for the page alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.figures import Sample, Spread, cpu_ratio, p99_ratio
from bench.messages.playing import LOAD, Idle, Played
from bench.messages.settings import CONNECTIONS, HELD, LARGE, SMALL, Setting
from bench.outcome import OURS, Target
from bench.peers.messages import CENTRIFUGO_NAME, GORILLA
from bench.rounds import QUIET

KIB = 1024
GIB = 1 << 30
NOTHING = "–"
MOST_P99_MS = 100.0
AHEAD = {GORILLA: 1.5, CENTRIFUGO_NAME: 1.2}
"""Deliveries per CPU second, against each."""
HEADROOM = 0.7
"""Share of a core that a node on paper uses."""
ON_PAPER = 100_000
FANOUT_HEADS = (
    "server", "delivered/s", "p50 ms", "p99 ms", "CPU µs", "busy", "MB", "load µs",
    "delivered per CPU second", "per CPU second ×", "p99 ×",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chapter:
    """One table."""

    title: str
    does: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    facts: Sequence[str] = ()
    targets: Sequence[Target] = field(default_factory=list)


def idle(weighed: Mapping[str, Sequence[Idle]]) -> Chapter:
    """Memory of connections that nobody speaks on."""
    each = {name: Spread.of([one.bytes_per_connection for one in rounds]) for name, rounds in weighed.items()}
    ratios = {name: _ratios(weighed[OURS], rounds, _weight) for name, rounds in weighed.items() if name != OURS}
    rows = [
        (
            name,
            f"{spread.middle / KIB:.1f} ({spread.low / KIB:.1f}–{spread.high / KIB:.1f})",
            f"{Spread.of([one.resident_bytes for one in weighed[name]]).middle / 1e6:.0f}",
            _ratio(ratios[name]) if name in ratios else NOTHING,
        )
        for name, spread in each.items()
    ]
    targets = []
    if GORILLA in ratios:
        targets.append(
            Target(f"no more memory than {GORILLA} ({ratios[GORILLA].middle:.2f})", ratios[GORILLA].middle >= 1)
        )
    if CENTRIFUGO_NAME in ratios:
        half = ratios[CENTRIFUGO_NAME].middle
        targets.append(Target(f"the goal, half the memory of {CENTRIFUGO_NAME} (1/{half:.1f})", half >= 2))
    return Chapter(
        f"{CONNECTIONS:,} idle connections",
        "Resident memory of the server's processes, without the kernel's share of a socket; people with a token, in no "
        "room, 5 s after the last of them came. What the first 100 took is left out: some things are set up once. "
        "Memory × above 1: Teahouse takes less.",
        ("server", "KiB a connection", "MB in all", "memory ×"),
        rows,
        targets=targets,
    )


def fanout(setting: Setting, played: Mapping[str, Sequence[Played]]) -> Chapter:
    """What a delivery costs, and how long it takes."""
    samples = {name: [one.sample for one in rounds] for name, rounds in played.items()}
    targets = [
        target for name, least in AHEAD.items() if name in samples
        for target in _ahead(samples[OURS], name, samples[name], least)
    ]  # fmt: skip
    paced = f"{setting.rate:,.0f} messages a second in all"
    rooms = f"{setting.rooms:,} rooms" if setting.rooms > 1 else "One room"
    does = f"{rooms}, in each one person who speaks and {setting.listeners:,} who hear; {paced}."
    return Chapter(setting.title, does, FANOUT_HEADS, _rows(samples), _facts(played), targets)


def held(setting: Setting, played: Mapping[str, Sequence[Played]]) -> Chapter:
    """Whether all are reached in time, for how long."""
    samples = {name: [one.sample for one in rounds] for name, rounds in played.items()}
    worst = max(sample.p99_ms for sample in samples[OURS])
    seconds = min(sample.seconds for sample in samples[OURS])
    text = f"{setting.people:,} connections for {seconds:.0f} s, 100 % delivered, p99 under {MOST_P99_MS:.0f} ms"
    target = Target(f"{text} ({worst:.1f} ms)", worst < MOST_P99_MS)
    lengths = {name: sum(sample.seconds for sample in rounds) for name, rounds in samples.items()}
    does = (
        f"{setting.people:,} connections on one core, {setting.rate:,.0f} messages a second into {setting.rooms} rooms "
        f"of {setting.listeners + 1}; {'; '.join(f'{name} {length:.0f} s' for name, length in lengths.items())}."
    )
    return Chapter(setting.title, does, FANOUT_HEADS, _rows(samples), _facts(played), [target])


def paper(weighed: Mapping[str, Sequence[Idle]], played: Mapping[str, Sequence[Played]]) -> Chapter:
    """What larger nodes would hold, computed from what was measured."""
    rows = []
    for name, rounds in played.items():
        weight = Spread.of([one.bytes_per_connection for one in weighed[name]]).middle
        cost = Spread.of([one.sample.cpu_us for one in rounds]).middle / 1e6
        rows.append((
            name,
            f"{GIB / weight:,.0f}",
            f"{HEADROOM / cost:,.0f}",
            f"{ON_PAPER * weight / GIB:.1f}",
            f"{ON_PAPER * cost / HEADROOM:.1f}",
        ))  # fmt: skip
    return Chapter(
        "A larger node, on paper",
        f"Computed, not measured: the memory of an idle connection and the CPU of a delivery in {SMALL.title} from "
        f"above, no core busier than {HEADROOM:.0%}. The kernel's memory for sockets comes on top, each connection is "
        "an open file, and what several workers tell each other through Redis is not in these figures.",
        (
            "server",
            "idle connections in 1 GiB",
            "deliveries/s on a core",
            f"GiB for {ON_PAPER:,}",
            "cores where each of them hears a message a second",
        ),
        rows,
    )


def chapters(
    weighed: Mapping[str, Sequence[Idle]], played: Mapping[str, Mapping[str, Sequence[Played]]]
) -> list[Chapter]:
    """All that can be told of what was measured."""
    told = [idle(weighed)] if weighed else []
    told += [fanout(setting, played[setting.name]) for setting in (LARGE, SMALL) if setting.name in played]
    if HELD.name in played:
        told.append(held(HELD, played[HELD.name]))
    if weighed and SMALL.name in played:
        told.append(paper(weighed, played[SMALL.name]))
    return told


def _weight(one: Idle) -> float:
    return one.bytes_per_connection


def _ratios(ours: Sequence[Idle], peers: Sequence[Idle], of: Callable[[Idle], float]) -> Spread:
    return Spread.of([of(peer) / of(mine) for mine, peer in zip(ours, peers, strict=True)])


def _ahead(ours: Sequence[Sample], name: str, peers: Sequence[Sample], least: float) -> list[Target]:
    cpu, p99 = cpu_ratio(ours, peers).middle, p99_ratio(ours, peers).middle
    return [
        Target(f"at least {least:g} × the deliveries per CPU second of {name} ({cpu:.2f})", cpu >= least),
        Target(f"a p99 no worse than that of {name} ({p99:.2f})", p99 <= 1),
    ]


def _rows(samples: Mapping[str, Sequence[Sample]]) -> list[tuple[str, ...]]:
    ours = samples[OURS]
    return [
        (*_own(name, rounds), *(_against(ours, rounds) if name != OURS else (NOTHING, NOTHING)))
        for name, rounds in samples.items()
    ]


def _own(name: str, rounds: Sequence[Sample]) -> tuple[str, ...]:
    def middle(of: Callable[[Sample], float]) -> float:
        return Spread.of([of(sample) for sample in rounds]).middle

    return (
        name,
        f"{middle(lambda sample: sample.rate):,.0f}",
        f"{middle(lambda sample: sample.p50_ms):.2f}",
        f"{middle(lambda sample: sample.p99_ms):.2f}",
        f"{middle(lambda sample: sample.cpu_us):.1f}",
        f"{middle(lambda sample: sample.busy):.0%}",
        f"{middle(lambda sample: sample.resident_bytes) / 1e6:.0f}",
        f"{middle(lambda sample: sample.engine_us(LOAD)):.1f}",
        f"{1e6 / middle(lambda sample: sample.cpu_us):,.0f}",
    )


def _against(ours: Sequence[Sample], peers: Sequence[Sample]) -> tuple[str, ...]:
    count = min(len(ours), len(peers))
    return _ratio(cpu_ratio(ours[:count], peers[:count])), _ratio(p99_ratio(ours[:count], peers[:count]))


def _facts(played: Mapping[str, Sequence[Played]]) -> list[str]:
    sizes = "; ".join(f"{name} {rounds[0].frame_bytes:.0f}" for name, rounds in played.items())
    samples = [one.sample for rounds in played.values() for one in rounds]
    busiest = max(sample.engine_seconds[LOAD] / sample.seconds for sample in samples)
    facts = [f"Bytes of a delivered message: {sizes}. The load used {busiest:.0%} of its core at most."]
    loud = [sample.others for sample in samples if sample.others > QUIET]
    if loud:
        # Not the words of the other tables: the READMEs look for those.
        facts.append(
            f"In {len(loud)} of {len(samples)} rounds something else took more than {QUIET:.0%} of the two cores (up "
            f"to {max(loud):.0%}): trust the CPU there, not the p99."
        )
    return facts


def _ratio(ratio: Spread) -> str:
    return f"{ratio.middle:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"
