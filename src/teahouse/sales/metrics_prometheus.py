"""The recorder's figures as Prometheus metrics: how far SQL is behind what was sold."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from teahouse.sales.backlog_redis import RedisBacklog
from teahouse.sales.recorder import Recorder


class RecorderCollector(Collector):
    """Of the worker that records, and zeros elsewhere: add them up."""

    def __init__(self, recorder: Recorder, backlog: RedisBacklog) -> None:
        self._recorder = recorder
        self._backlog = backlog

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        recorder, backlog = self._recorder, self._backlog
        yield GaugeMetricFamily("teahouse_recorder_leading", "Whether this worker records", value=recorder.leading)
        yield GaugeMetricFamily(
            "teahouse_recorder_waiting", "Orders and payments sold but not recorded", value=backlog.waiting
        )
        yield GaugeMetricFamily(
            "teahouse_recorder_lag_seconds", "How long ago the oldest of them happened", value=backlog.oldest_seconds
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
