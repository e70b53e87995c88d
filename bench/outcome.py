"""What a scenario is asked for and what it hands to the report."""

from dataclasses import dataclass, field

from bench.figures import Sample

OURS = "Teahouse"


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    rounds: int
    seconds: float
    warm_up_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """A figure to reach, and whether it was reached."""

    text: str
    reached: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario measured."""

    title: str
    does: str
    samples: dict[str, list[Sample]]
    """By server, ours first; the n-th samples belong to the same round."""
    facts: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
