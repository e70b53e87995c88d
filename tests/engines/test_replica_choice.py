"""How far behind a replica is, and who has to be answered by the primary: the rules, without servers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from teahouse.engines.sql_replicas import Beat, Pulse, Sticky
from tests.clocks import ManualClock

AT = 1_767_225_600_000


def pulse(clock: ManualClock, beats: int, first: int = 1) -> Pulse:
    """A primary that beat once a second, last just now."""
    pulse = Pulse(clock.monotonic)
    for number in range(first, first + beats):
        clock.advance(1)
        pulse.saw(Beat(number, AT + number * 1000))
    return pulse


def test_a_replica_with_the_last_beat_is_not_behind_however_long_ago_that_was():
    clock = ManualClock()
    seen = pulse(clock, 5)
    clock.advance(3600)
    assert seen.lag(Beat(5, AT)) == (0.0, True)


def test_a_replica_is_as_far_behind_as_the_first_beat_it_lacks_is_old():
    clock = ManualClock()
    seen = pulse(clock, 5)
    assert seen.lag(Beat(4, AT)) == (0.0, True)
    assert seen.lag(Beat(2, AT)) == (2.0, True)
    clock.advance(7)
    assert seen.lag(Beat(2, AT)) == (9.0, True)


def test_a_replica_that_lacks_the_first_beat_this_node_saw_is_behind_by_nobody_knows_how_much():
    clock = ManualClock()
    seen = pulse(clock, 2, first=1000)
    assert seen.lag(Beat(400, AT + 400_000)) == (601.0, False)


def test_nobody_knows_how_far_behind_a_replica_is_before_the_primary_was_seen():
    assert Pulse(ManualClock().monotonic).lag(Beat(1, AT)) == (None, False)


def test_a_primary_that_begins_anew_is_measured_anew():
    clock = ManualClock()
    seen = pulse(clock, 5, first=100)
    assert seen.saw(Beat(1, AT))
    assert not seen.saw(Beat(1, AT))
    assert seen.lag(Beat(1, AT)) == (0.0, True)


@given(st.lists(st.tuples(st.floats(0.1, 3), st.integers(1, 3), st.integers(0, 5)), min_size=1, max_size=40))
def test_lag_is_never_less_than_how_long_the_replica_has_lacked_a_beat(steps):
    """Against a history that is kept whole; wall clocks step at random and change nothing."""
    clock, number, history = ManualClock(), 0, []
    seen = Pulse(clock.monotonic)
    for seconds, more, behind in steps:
        clock.advance(seconds)
        clock.step_wall_clock(seconds * 1000 - 1500)
        number += more
        history.append((number, clock.monotonic()))
        assert seen.saw(Beat(number, AT))
        held = max(number - behind, 1)
        missing = [moment for beat, moment in history if beat > held]
        lag, complete = seen.lag(Beat(held, AT))
        if complete:
            assert lag == (clock.monotonic() - missing[0] if missing else 0.0)
        else:
            assert held < history[0][0]


def test_who_has_written_is_held_for_a_while_and_then_forgotten():
    clock = ManualClock()
    sticky = Sticky(5.0, monotonic=clock.monotonic)
    sticky.wrote(["ann"])
    clock.advance(4.9)
    assert sticky.holds("ann")
    assert not sticky.holds("bob")
    sticky.wrote(["bob"])
    clock.advance(0.2)
    assert not sticky.holds("ann")
    sticky.wrote(["cat"])
    assert len(sticky) == 2


def test_when_too_many_have_written_nobody_is_forgotten_too_early():
    clock = ManualClock()
    sticky = Sticky(5.0, most=10, monotonic=clock.monotonic)
    for number in range(100):
        sticky.wrote([f"user{number}"])
    assert len(sticky) == 10
    assert all(sticky.holds(f"user{number}") for number in range(100))
    clock.advance(5.1)
    assert not any(sticky.holds(f"user{number}") for number in range(100))


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 3)), max_size=60),
    st.integers(1, 4),
)
def test_a_writer_is_held_for_the_whole_time_however_small_the_memory(writes, most):
    clock, last = ManualClock(), {}
    sticky = Sticky(5.0, most=most, monotonic=clock.monotonic)
    for caller, seconds in writes:
        sticky.wrote([caller])
        last[caller] = clock.monotonic()
        clock.advance(seconds)
        assert all(sticky.holds(one) for one, then in last.items() if clock.monotonic() < then + 5.0)
        assert len(sticky) <= most
