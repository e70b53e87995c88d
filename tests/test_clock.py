"""Ids and time."""

from __future__ import annotations

import time
import uuid

from hypothesis import given
from hypothesis import strategies as st

from teahouse.clock import Clock, to_datetime, to_milliseconds
from tests.clocks import START, ManualClock


def test_an_id_is_a_uuid_of_version_7_in_32_hex_characters():
    text = Clock().new_id()
    parsed = uuid.UUID(text)
    assert text == parsed.hex
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122


def test_an_id_begins_with_its_moment():
    clock = ManualClock()
    assert int(clock.new_id()[:12], 16) == int(START * 1000)
    assert abs(int(Clock().new_id()[:12], 16) - time.time() * 1000) < 1000


def test_ids_of_one_moment_rise():
    clock = ManualClock()
    ids = [clock.new_id() for _ in range(20_000)]
    assert ids == sorted(set(ids))


@given(st.lists(st.floats(-10_000, 10_000, allow_nan=False), max_size=60))
def test_ids_rise_whatever_the_wall_clock_does(steps):
    clock = ManualClock()
    ids = [clock.new_id()]
    for step in steps:
        clock.step_wall_clock(step)
        ids += [clock.new_id(), clock.new_id()]
    assert ids == sorted(set(ids))
    assert all(uuid.UUID(text).version == 7 for text in ids)


def test_ids_rise_when_a_moment_has_more_than_its_sequence_holds_and_the_clock_is_behind():
    clock = ManualClock()
    ids = [clock.new_id() for _ in range(5000)]
    clock.step_wall_clock(-3600)
    ids += [clock.new_id() for _ in range(5000)]
    clock.step_wall_clock(7200)
    ids += [clock.new_id() for _ in range(10)]
    assert ids == sorted(set(ids))


def test_the_random_half_differs_between_ids_of_one_moment():
    clock = ManualClock()
    assert len({clock.new_id()[16:] for _ in range(5000)}) == 5000


def test_the_random_half_never_repeats_across_the_pools_edge():
    clock = Clock()
    assert len({clock.new_id()[17:] for _ in range(10_000)}) == 10_000


@given(st.integers(0, 4_000_000_000_000))
def test_milliseconds_survive_a_datetime(milliseconds):
    assert to_milliseconds(to_datetime(milliseconds)) == milliseconds
