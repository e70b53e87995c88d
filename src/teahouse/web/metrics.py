"""The kernel's figures as Prometheus metrics (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from teahouse.batching import SIZE_BOUNDS, Batcher
from teahouse.web.figures import LATENCY_BOUNDS, RouteFigures
from teahouse.web.routing import Route

if TYPE_CHECKING:
    from teahouse.web.app import App
    from teahouse.web.server import Server


def cumulative(bounds: Sequence[float], buckets: Sequence[int]) -> list[tuple[str, float]]:
    """Counts per bucket as Prometheus wants them: each bound with the count of everything up to it."""
    total, rows = 0, []
    for bound, count in zip((*bounds, float("inf")), buckets, strict=True):
        total += count
        rows.append(("+Inf" if bound == float("inf") else f"{bound:g}", float(total)))
    return rows


class KernelCollector(Collector):
    """Requests by route and status, their seconds, connections, background work, the loop's lag."""

    def __init__(self, app: App) -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        yield from self._requests()
        server = self._app.server
        if server is not None:
            yield from _server_metrics(server)
        background = self._app.background
        yield _gauge("teahouse_background_running", "Pieces of background work under way", background.running)
        done = CounterMetricFamily("teahouse_background", "Background work by how it ended", labels=["outcome"])
        done.add_metric(["finished"], background.finished)
        done.add_metric(["handed_back"], background.handed_back)
        yield done

    def _requests(self) -> Iterator[Metric]:
        labels = ["method", "route"]
        counts = CounterMetricFamily(
            "teahouse_http_requests", "Answered requests by route and status", labels=[*labels, "status"]
        )
        seconds = HistogramMetricFamily(
            "teahouse_http_request_seconds", "From the request's head to its answer", labels=labels
        )
        for method, template, figures in self._figures():
            for status, count in sorted(figures.statuses.items()):
                counts.add_metric([method, template, str(status)], count)
            if figures.statuses:
                seconds.add_metric([method, template], cumulative(LATENCY_BOUNDS, figures.buckets), figures.seconds)
        yield counts
        yield seconds

    def _figures(self) -> Iterator[tuple[str, str, RouteFigures]]:
        routes: list[Route] = [*self._app.router]
        server = self._app.server
        if server is not None:
            routes += server.pseudo_routes
            yield "-", "(refused)", server.figures.refused
        for route in routes:
            yield route.method, route.template, route.figures


def _server_metrics(server: Server) -> Iterator[Metric]:
    figures = server.figures
    yield _gauge("teahouse_http_connections", "Open connections", figures.connections)
    yield _gauge("teahouse_http_running", "Requests whose handler is waiting", server.running)
    yield _gauge("teahouse_event_loop_lag_seconds", "How late the loop's last tick was", figures.lag)
    yield _counter("teahouse_http_connections_rejected", "Connections beyond the limit", figures.rejected)
    yield _counter("teahouse_access_log_dropped", "Access log lines that could not be kept", server.log.dropped)


class BatchCollector(Collector):
    """How many calls left together, for each batcher."""

    def __init__(self, batchers: Sequence[Batcher[Any, Any]]) -> None:
        self._batchers = batchers

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        sizes = HistogramMetricFamily("teahouse_batch_size", "Calls that left as one flush", labels=["batcher"])
        waiting = GaugeMetricFamily("teahouse_batch_waiting", "Calls that have not left", labels=["batcher"])
        for batcher in self._batchers:
            sizes.add_metric([batcher.name], cumulative(SIZE_BOUNDS, batcher.sizes.buckets), batcher.sizes.calls)
            waiting.add_metric([batcher.name], batcher.waiting)
        yield sizes
        yield waiting


def register_process_metrics(registry: CollectorRegistry) -> None:
    """CPU, memory, file descriptors and garbage collection of this process."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)
