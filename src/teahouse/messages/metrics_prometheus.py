"""Sockets and messages of this worker as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from teahouse.messages.bus import Bus
from teahouse.messages.gateway import Gateway
from teahouse.messages.hub import Hub


class MessagesCollector(Collector):
    """Figures of one worker: add them up."""

    def __init__(self, gateway: Gateway, hub: Hub, bus: Bus) -> None:
        self._gateway = gateway
        self._hub = hub
        self._bus = bus

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        gateway, hub, bus = self._gateway, self._hub, self._bus
        yield GaugeMetricFamily("teahouse_sockets", "Open sockets", value=len(gateway.sockets))
        yield CounterMetricFamily("teahouse_sockets_refused", "Upgrades that were refused", value=gateway.refused)
        closed = CounterMetricFamily("teahouse_sockets_closed", "Sockets that were closed, by code", labels=["code"])
        for code, count in sorted(gateway.closes.items()):
            closed.add_metric([str(code) if code else "other"], count)
        yield closed
        yield GaugeMetricFamily(
            "teahouse_channels", "Conversations that somebody on this worker takes part in", value=hub.channels
        )
        yield CounterMetricFamily(
            "teahouse_messages_delivered", "Messages, times the sockets they went to", value=hub.delivered
        )
        yield CounterMetricFamily(
            "teahouse_messages_filled", "Messages that the bus had lost and the store had", value=hub.filled
        )
        yield CounterMetricFamily("teahouse_bus_losses", "Times that the bus may have lost something", value=bus.losses)
