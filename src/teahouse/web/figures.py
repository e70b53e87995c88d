"""What the kernel counts about itself: plain numbers, read by /metrics.

A Prometheus counter costs about a microsecond and a lock at each increment; these cost a list item.
"""

from __future__ import annotations

from bisect import bisect_left

# Seconds. From a cached answer to the longest that a caller would wait.
LATENCY_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RouteFigures:
    """Requests of one route by status, and a histogram of their seconds."""

    __slots__ = ("buckets", "seconds", "statuses")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(LATENCY_BOUNDS) + 1)
        self.seconds = 0.0

    def observe(self, status: int, seconds: float) -> None:
        """Counts one answer."""
        statuses = self.statuses
        statuses[status] = statuses.get(status, 0) + 1
        self.buckets[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.seconds += seconds


class ServerFigures:
    """Connections, refusals before any route, and the event loop's lag in seconds."""

    __slots__ = ("connections", "lag", "refused", "rejected")

    def __init__(self) -> None:
        self.connections = 0
        self.rejected = 0
        self.lag = 0.0
        self.refused = RouteFigures()
