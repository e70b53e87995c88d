"""What one worker's figures become at another of its node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from teahouse.web.siblings import Siblings


class YesOrNo(Collector):
    """A collector whose value is no number, which Prometheus' own library takes for one."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily("teahouse_connected", "Whether it is", value=True)


async def test_a_worker_whose_figures_are_yes_or_no_is_not_left_out(tmp_path: Path):
    registry = CollectorRegistry()
    registry.register(YesOrNo())
    workers = [Siblings(registry, tmp_path, index, 2) for index in range(2)]
    for each in workers:
        await each.open()
    try:
        told = (await workers[0].exposition()).decode().splitlines()
    finally:
        for each in workers:
            await each.aclose()
    assert {f'teahouse_connected{{worker="{index}"}} 1.0' for index in range(2)} <= set(told)
