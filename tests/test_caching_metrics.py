"""What /metrics says of caches."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from teahouse.caching.metrics_prometheus import CacheCollector
from tests.caching_shop import cache_of, manual_truth


async def test_reads_entries_and_invalidations_of_each_cache_are_shown() -> None:
    _, truth = manual_truth()
    truth.write("a", 1)
    cache = cache_of(truth)
    for key in ("a", "a", "a", "none", "none"):
        await cache.get(key)
    await cache.invalidate("a")
    registry = CollectorRegistry()
    registry.register(CacheCollector([cache]))
    text = generate_latest(registry).decode()
    for line in (
        'teahouse_cache_reads_total{cache="numbers",layer="local"} 2.0',
        'teahouse_cache_reads_total{cache="numbers",layer="redis"} 0.0',
        'teahouse_cache_reads_total{cache="numbers",layer="loaded"} 2.0',
        'teahouse_cache_reads_total{cache="numbers",layer="negative"} 1.0',
        'teahouse_cache_entries{cache="numbers"} 1.0',
        'teahouse_cache_invalidations_total{cache="numbers"} 1.0',
        'teahouse_cache_untold{cache="numbers"} 0.0',
    ):
        assert line in text.splitlines()
