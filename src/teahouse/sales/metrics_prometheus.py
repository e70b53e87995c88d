"""The recorder's figures as Prometheus metrics: how far SQL is behind what was sold."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from teahouse.sales.recorder import Recorder


class RecorderCollector(Collector):
    """Of the worker that records, and zeros elsewhere: add them up."""

    def __init__(self, recorder: Recorder, waiting: Callable[[], int], lag_seconds: Callable[[], float]) -> None:
        self._recorder = recorder
        self._waiting = waiting
        self._lag_seconds = lag_seconds

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        recorder = self._recorder
        yield GaugeMetricFamily("teahouse_recorder_leading", "Whether this worker records", value=recorder.leading)
        yield GaugeMetricFamily(
            "teahouse_recorder_waiting", "Orders and payments sold but not recorded", value=self._waiting()
        )
        yield GaugeMetricFamily(
            "teahouse_recorder_lag_seconds", "How long ago the oldest of them happened", value=self._lag_seconds()
        )
        yield CounterMetricFamily(
            "teahouse_recorder_recorded", "Orders and payments that reached SQL", value=recorder.recorded
        )
        yield CounterMetricFamily(
            "teahouse_recorder_transactions", "Transactions in which they did", value=recorder.transactions
        )
        yield CounterMetricFamily(
            "teahouse_recorder_set_aside", "Rows that SQL would not take", value=recorder.set_aside
        )
