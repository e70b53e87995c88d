"""Delays in a fixed number of buckets, whatever comes: a quantile is right to 2 %, as in an HDR histogram."""

from __future__ import annotations

from itertools import accumulate
from math import ceil

# Each power of two is cut into 64 buckets; below 64 µs a bucket is a microsecond.
_BITS = 6
_LARGEST = 2**32 - 1
_BUCKETS = (32 - _BITS + 1) << _BITS


class Histogram:
    """Counts delays from 0 to 71 minutes; longer ones count as that."""

    __slots__ = ("_counts", "count", "largest")

    def __init__(self) -> None:
        self.count = 0
        self.largest = 0.0
        self._counts = [0] * _BUCKETS

    def add(self, seconds: float) -> None:
        """One more delay; a negative one, which a clock may give, counts as none."""
        micros = min(max(int(seconds * 1e6), 0), _LARGEST)
        shift = max(micros.bit_length() - _BITS - 1, 0)
        self._counts[(shift << _BITS) + (micros >> shift)] += 1
        self.count += 1
        self.largest = max(self.largest, seconds)

    def quantile(self, share: float) -> float:
        """Seconds that at least that share of the delays do not exceed; 0 where there are none."""
        if not self.count:
            return 0.0
        rank = max(1, ceil(self.count * share))
        place = next(place for place, sum_ in enumerate(accumulate(self._counts)) if sum_ >= rank)
        return min(_upper_bound(place), self.largest)


def _upper_bound(place: int) -> float:
    # The first two rows of 64 buckets have a width of a microsecond, every further row twice that of the row before.
    shift = max((place >> _BITS) - 1, 0)
    return ((place - (shift << _BITS)) + 1) * (1 << shift) / 1e6
