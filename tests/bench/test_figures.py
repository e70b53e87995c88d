from dataclasses import replace

import pytest

from bench.figures import Sample, Spread, cpu_ratio, engine_ratio, p99_ratio, rate_ratio

ROUND = Sample(requests=100_000, seconds=2.0, p50_ms=1.0, p99_ms=2.0, cpu_seconds=1.5, resident_bytes=50_000_000)


def test_a_round_knows_its_rate_its_cpu_per_request_and_its_share_of_the_core():
    assert ROUND.rate == 50_000
    assert ROUND.cpu_us == pytest.approx(15.0)
    assert ROUND.busy == 0.75


def test_a_spread_is_the_least_the_middle_and_the_greatest():
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(1.0, 2.0, 3.0)


def test_a_spread_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


def test_ratios_are_taken_round_by_round():
    ours = [replace(ROUND, requests=100_000), replace(ROUND, requests=50_000)]
    peers = [replace(ROUND, requests=50_000), replace(ROUND, requests=50_000)]
    assert rate_ratio(ours, peers) == Spread(1.0, 1.5, 2.0)


def test_rounds_that_do_not_pair_up_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        rate_ratio([ROUND, ROUND], [ROUND])


def test_less_cpu_than_the_peer_is_a_ratio_above_one():
    assert cpu_ratio([ROUND], [replace(ROUND, cpu_seconds=3.0)]).middle == 2.0


def test_a_later_p99_than_the_peer_is_a_ratio_above_one():
    assert p99_ratio([replace(ROUND, p99_ms=3.0)], [ROUND]).middle == 1.5


def test_less_work_for_an_engine_is_a_ratio_above_one():
    ours = replace(ROUND, engine_seconds={"Redis": 0.5})
    peer = replace(ROUND, requests=50_000, engine_seconds={"Redis": 1.0})
    assert ours.engine_us("Redis") == pytest.approx(5.0)
    assert engine_ratio([ours], [peer], "Redis").middle == pytest.approx(4.0)
