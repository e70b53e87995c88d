from dataclasses import replace

from bench.figures import Sample
from bench.rounds import quietest

ROUND = Sample(requests=1, seconds=1.0, p50_ms=1.0, p99_ms=2.0, cpu_seconds=1.0, resident_bytes=1)


def played(*others: float) -> list[int]:
    """Which rounds are kept, by number, when two are wanted and others use these shares in turn."""
    kept = quietest(2, lambda number: [replace(ROUND, requests=number), replace(ROUND, others=others[number - 1])])
    return [first.requests for first, _ in kept]


def test_quiet_rounds_are_kept_as_they_come():
    assert played(0.01, 0.05) == [1, 2]


def test_a_disturbed_round_is_played_again():
    assert played(0.01, 0.3, 0.0) == [1, 3]


def test_a_machine_that_is_never_quiet_ends_with_its_quietest_rounds():
    assert played(0.4, 0.2, 0.5, 0.3) == [2, 4]
