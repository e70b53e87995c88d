"""What a worker tells of its sockets and messages."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from teahouse.messages.bus_memory import MemoryBus
from teahouse.messages.metrics_prometheus import MessagesCollector


class Counted:
    sockets = (1, 2, 3)
    refused = 4
    closes = {1000: 2, 0: 1}  # noqa: RUF012 - read only
    channels = 5
    delivered = 6
    filled = 7


def test_sockets_and_messages_are_told_under_their_names():
    registry = CollectorRegistry()
    registry.register(MessagesCollector(Counted(), Counted(), MemoryBus()))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    assert dict(line.split(" ") for line in lines) == {
        "teahouse_sockets": "3.0",
        "teahouse_sockets_refused_total": "4.0",
        'teahouse_sockets_closed_total{code="1000"}': "2.0",
        'teahouse_sockets_closed_total{code="other"}': "1.0",
        "teahouse_channels": "5.0",
        "teahouse_messages_delivered_total": "6.0",
        "teahouse_messages_filled_total": "7.0",
        "teahouse_bus_losses_total": "0.0",
    }
