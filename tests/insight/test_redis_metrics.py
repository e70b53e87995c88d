"""What /metrics says about Redis."""

from __future__ import annotations

from types import SimpleNamespace

from prometheus_client import CollectorRegistry, generate_latest

from teahouse.insight.metrics_prometheus import RedisCollector


def test_the_engine_and_the_feed_are_in_the_metrics():
    redis = SimpleNamespace(connected=True, losses=3)
    feed = SimpleNamespace(current=False, losses=2, heard=40)
    registry = CollectorRegistry()
    registry.register(RedisCollector(redis, feed))
    text = generate_latest(registry).decode()
    for line in (
        "teahouse_redis_connected 1.0",
        "teahouse_redis_losses_total 3.0",
        "teahouse_feed_current 0.0",
        "teahouse_feed_losses_total 2.0",
        "teahouse_feed_messages_total 40.0",
    ):
        assert line in text.splitlines()
