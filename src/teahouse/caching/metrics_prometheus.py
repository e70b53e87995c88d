"""Caches as Prometheus metrics: the hit rate is the reads of ``local``, ``redis`` and ``negative`` among all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from teahouse.caching.cache import Cache

_LAYERS = {"local": "local", "shared": "redis", "loaded": "loaded", "negative": "negative"}


class CacheCollector(Collector):
    """For each cache: reads by the layer that answered, entries in this process, and changes made here."""

    def __init__(self, caches: Sequence[Cache[Any]]) -> None:
        self._caches = caches

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        reads = CounterMetricFamily(
            "teahouse_cache_reads", "Reads by the layer that answered", labels=["cache", "layer"]
        )
        entries = GaugeMetricFamily("teahouse_cache_entries", "Entries in this process", labels=["cache"])
        changes = CounterMetricFamily("teahouse_cache_invalidations", "Entries invalidated here", labels=["cache"])
        untold = GaugeMetricFamily(
            "teahouse_cache_untold", "Invalidations that the other nodes could not be told yet", labels=["cache"]
        )
        for cache in self._caches:
            for layer, label in _LAYERS.items():
                reads.add_metric([cache.name, label], cache.local.reads[layer])
            entries.add_metric([cache.name], len(cache.local))
            changes.add_metric([cache.name], cache.invalidations)
            untold.add_metric([cache.name], cache.changes.untold)
        yield from (reads, entries, changes, untold)
