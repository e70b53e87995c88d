"""The shop's counters as Prometheus metrics. What they count belongs to the parts that hand them over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

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
