from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from teahouse.accounts.throttle_memory import Buckets
from tests.clocks import ManualClock


def test_a_key_must_wait_once_its_bucket_is_full():
    clock = ManualClock()
    buckets = Buckets(3, 30, clock=clock)
    for _ in range(3):
        assert buckets.wait("a") == 0
        buckets.add("a")
    assert buckets.wait("a") == 10
    assert buckets.wait("b") == 0
    clock.advance(10)
    assert buckets.wait("a") == 0
    buckets.add("a")
    assert buckets.wait("a") == 10


def test_whoever_waits_as_long_as_told_may_go_on():
    clock = ManualClock()
    buckets = Buckets(7, 13.0, clock=clock)
    for _ in range(12):
        buckets.add("a")
    clock.advance(buckets.wait("a"))
    assert buckets.wait("a") == 0


def test_the_wall_clock_does_not_matter():
    clock = ManualClock()
    buckets = Buckets(1, 60, clock=clock)
    buckets.add("a")
    clock.step_wall_clock(-10_000)
    assert buckets.wait("a") == 60


def test_the_oldest_keys_are_forgotten_beyond_the_bound():
    buckets = Buckets(1, 60, clock=ManualClock(), most=2)
    for key in ("a", "b", "a", "c"):
        buckets.add(key)
    assert len(buckets) == 2
    assert buckets.wait("b") == 0
    assert buckets.wait("a") > 0


def test_keys_that_have_run_dry_take_no_memory():
    clock = ManualClock()
    buckets = Buckets(1, 60, clock=clock)
    for number in range(100):
        buckets.add(str(number))
    clock.advance(121)
    buckets.add("last")
    assert len(buckets) == 1


@given(st.integers(1, 20), st.lists(st.floats(0, 50), max_size=60))
def test_no_window_lets_more_than_twice_the_limit_through(limit, gaps):
    clock, seconds = ManualClock(), 30.0
    buckets = Buckets(limit, seconds, clock=clock)
    passed: list[float] = []
    for gap in gaps:
        clock.advance(gap)
        if buckets.wait("a") == 0:
            buckets.add("a")
            passed.append(clock.monotonic())
    for moment in passed:
        assert sum(moment - seconds < other <= moment for other in passed) <= 2 * limit
