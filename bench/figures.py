"""What one round measured, and what many rounds say together. Pure: no process, no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of load against one server."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    """User and system time of the server's whole process tree."""
    resident_bytes: int
    """Resident memory of the same tree, right after the round."""
    others: float = 0.0
    """Share of the two cores that neither the server, its engines nor the load used, but something else, 0 to 1."""
    engine_seconds: Mapping[str, float] = field(default_factory=dict)
    """User and system time of each engine behind the server, by the engine's name."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU per request."""
        return self.cpu_seconds / self.requests * 1e6

    def engine_us(self, name: str) -> float:
        """Microseconds of an engine's CPU per request."""
        return self.engine_seconds[name] / self.requests * 1e6

    @property
    def busy(self) -> float:
        """Share of its core that the server used, 0 to 1. Well under 1: something else held it back."""
        return self.cpu_seconds / self.seconds


@dataclass(frozen=True, slots=True)
class Spread:
    """The least, the middle and the greatest of several rounds."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Raises ValueError when there is no value."""
        if not values:
            raise ValueError("a spread needs at least one value")
        return cls(min(values), median(values), max(values))


def rate_ratio(ours: Sequence[Sample], peers: Sequence[Sample]) -> Spread:
    """Our throughput by the peer's, round by round: above 1 we carry more."""
    return Spread.of([a.rate / b.rate for a, b in zip(ours, peers, strict=True)])


def cpu_ratio(ours: Sequence[Sample], peers: Sequence[Sample]) -> Spread:
    """The peer's CPU per request by ours, round by round: above 1 we spend less.

    It moves less than throughput when something else uses the machine.
    """
    return Spread.of([b.cpu_us / a.cpu_us for a, b in zip(ours, peers, strict=True)])


def p99_ratio(ours: Sequence[Sample], peers: Sequence[Sample]) -> Spread:
    """Our p99 by the peer's, round by round: below 1 our slow answers are faster."""
    return Spread.of([a.p99_ms / b.p99_ms for a, b in zip(ours, peers, strict=True)])


def engine_ratio(ours: Sequence[Sample], peers: Sequence[Sample], name: str) -> Spread:
    """An engine's CPU per request behind the peer by that behind ours, round by round: above 1 we ask less of it."""
    return Spread.of([b.engine_us(name) / a.engine_us(name) for a, b in zip(ours, peers, strict=True)])
