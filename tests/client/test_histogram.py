"""Quantiles of delays: within 2 % of the truth, in memory that does not grow."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teahouse.client.histogram import Histogram

DELAYS = st.lists(st.integers(0, 2**32 - 1).map(lambda micros: micros / 1e6), min_size=1, max_size=200)


@given(DELAYS, st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_never_too_small_and_at_most_two_percent_too_large(delays: list[float], share: float):
    histogram = Histogram()
    for each in delays:
        histogram.add(each)
    truth = sorted(delays)[ceil(len(delays) * share) - 1]
    found = histogram.quantile(share)
    assert truth - 2e-6 <= found <= truth * 1.02 + 2e-6
    assert histogram.largest == max(delays)


def test_without_delays_every_quantile_is_nothing():
    assert Histogram().quantile(0.99) == 0.0


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 5000.0, 1e12])
def test_what_is_out_of_range_is_counted_at_its_end(seconds: float):
    histogram = Histogram()
    histogram.add(seconds)
    assert histogram.count == 1
    assert histogram.quantile(1.0) <= 2**32 / 1e6
