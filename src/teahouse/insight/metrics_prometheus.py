"""The shop's counters as Prometheus metrics. What they count belongs to the parts that hand them over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

# Beyond these a sale is one of many and its label only fills the time series database.
MAX_SALES = 50


class SaleFigures(msgspec.Struct, frozen=True):
    """One sale's units: still to be had, and reserved or sold."""

    id: str
    remaining: int
    taken: int


class SalesCollector(Collector):
    """Orders by outcome, live reservations, and the stock of the newest sales."""

    def __init__(
        self,
        outcomes: Callable[[], Mapping[str, int]],
        live: Callable[[], int],
        sales: Callable[[int], Iterable[SaleFigures]],
    ) -> None:
        self._outcomes = outcomes
        self._live = live
        self._sales = sales

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        orders = CounterMetricFamily(
            "teahouse_orders", "What became of purchases, payments and returns since the start", labels=["outcome"]
        )
        for outcome, count in sorted(self._outcomes().items()):
            orders.add_metric([outcome], count)
        yield orders
        yield GaugeMetricFamily("teahouse_reservations_live", "Reservations waiting for payment", value=self._live())
        stock = GaugeMetricFamily("teahouse_stock", "Units of the newest sales", labels=["sale", "state"])
        for sale in self._sales(MAX_SALES):
            stock.add_metric([sale.id, "remaining"], sale.remaining)
            stock.add_metric([sale.id, "taken"], sale.taken)
        yield stock


class RedisFigures(Protocol):
    """What the engine counts."""

    @property
    def connected(self) -> bool:
        """Whether a call would leave now."""
        ...

    @property
    def losses(self) -> int:
        """Connections lost since the start."""
        ...


class FeedFigures(Protocol):
    """What the feed counts."""

    @property
    def current(self) -> bool:
        """Whether everything that was told has been heard."""
        ...

    @property
    def losses(self) -> int:
        """Subscriptions lost since the start."""
        ...

    @property
    def heard(self) -> int:
        """Messages heard since the start."""
        ...


class RedisCollector(Collector):
    """Whether Redis is reached and the feed heard, and how often either was lost."""

    def __init__(self, redis: RedisFigures, feed: FeedFigures) -> None:
        self._redis = redis
        self._feed = feed

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        yield GaugeMetricFamily("teahouse_redis_connected", "1 while calls leave", value=self._redis.connected)
        yield CounterMetricFamily("teahouse_redis_losses", "Connections lost", value=self._redis.losses)
        yield GaugeMetricFamily(
            "teahouse_feed_current", "1 while everything that was told is heard", value=self._feed.current
        )
        yield CounterMetricFamily("teahouse_feed_losses", "Subscriptions lost", value=self._feed.losses)
        yield CounterMetricFamily("teahouse_feed_messages", "Messages heard", value=self._feed.heard)
