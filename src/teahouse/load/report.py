"""The load in figures, as values. No I/O."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from teahouse.client import Histogram, Tally
from teahouse.load.plan import Plan
from teahouse.load.process import Usage


class Usages(NamedTuple):
    """The server's: at the start, with everybody logged in, with all sockets, in the end."""

    start: Usage
    before: Usage
    connected: Usage
    after: Usage


class Measured(NamedTuple):
    """What is not in the tally; ``late`` and ``seconds`` in seconds. No usages where no process was named."""

    held: int
    seconds: float
    late: float
    own_cpu_seconds: float
    usages: Usages | None


class Delays(msgspec.Struct, frozen=True):
    """In milliseconds."""

    count: int
    p50: float
    p99: float
    max: float


class ServerCost(msgspec.Struct, frozen=True, rename="camel"):
    """The server's processes. Memory is resident, in bytes: at the start, with everybody logged in, with all sockets,
    and in the end.

    ``bytes_per_connection`` is what the sockets added. It flatters a server that has just been busy with the logins,
    for memory that these freed is used again; (connected - start) / connections is the most it can be.
    """

    memory_at_start: int
    memory_before: int
    memory_connected: int
    memory_after: int
    bytes_per_connection: int
    cpu_seconds: float
    cpu_seconds_per_thousand_delivered: float | None


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """``seconds`` from the first message to the last that was heard. ``lost`` counts sockets by close code, 1006 where
    there was none; ``refused`` frames by problem. ``lateness_ms``: how late the load itself was at worst, so delays
    below that may be its own.
    """

    connections: int
    rooms: int
    room_size: int
    smallest_room: int
    largest_room: int
    rate: float
    seconds: float
    held: int
    lost: dict[int, int]
    planned: int
    sent: int
    acknowledged: int
    expected: int
    delivered: int
    delivered_ratio: float
    doubled: int
    disordered: int
    refused: dict[str, int]
    delivered_per_second: float
    to_ack: Delays
    to_receivers: Delays
    lateness_ms: float
    own_cpu_seconds: float
    server: ServerCost | None
    complete: bool


def report_on(plan: Plan, tally: Tally, measured: Measured) -> Report:
    """What is to be told."""
    complete = (
        tally.sent == plan.messages == tally.acknowledged
        and tally.delivered == tally.expected
        and not (tally.doubled or tally.disordered)
    )
    sizes = [len(room) for room in plan.rooms()]
    return Report(
        connections=plan.connections,
        rooms=len(sizes),
        room_size=plan.room_size,
        smallest_room=min(sizes),
        largest_room=max(sizes),
        rate=plan.rate,
        seconds=round(measured.seconds, 3),
        held=measured.held,
        lost=dict(tally.lost.most_common()),
        planned=plan.messages,
        sent=tally.sent,
        acknowledged=tally.acknowledged,
        expected=tally.expected,
        delivered=tally.delivered,
        delivered_ratio=tally.delivered / tally.expected if tally.expected else 0.0,
        doubled=tally.doubled,
        disordered=tally.disordered,
        refused=dict(tally.refused.most_common()),
        delivered_per_second=round(tally.delivered / measured.seconds, 1),
        to_ack=_delays(tally.to_ack),
        to_receivers=_delays(tally.to_receiver),
        lateness_ms=round(measured.late * 1000, 2),
        own_cpu_seconds=round(measured.own_cpu_seconds, 2),
        server=_cost(plan, tally, measured),
        complete=complete,
    )


def _delays(histogram: Histogram) -> Delays:
    p50, p99 = (round(histogram.quantile(share) * 1000, 3) for share in (0.50, 0.99))
    return Delays(histogram.count, p50, p99, round(histogram.largest * 1000, 3))


def _cost(plan: Plan, tally: Tally, measured: Measured) -> ServerCost | None:
    if measured.usages is None:
        return None
    start, before, connected, after = measured.usages
    cpu = after.cpu_seconds - connected.cpu_seconds
    return ServerCost(
        memory_at_start=start.resident,
        memory_before=before.resident,
        memory_connected=connected.resident,
        memory_after=after.resident,
        bytes_per_connection=round((connected.resident - before.resident) / plan.connections),
        cpu_seconds=round(cpu, 2),
        cpu_seconds_per_thousand_delivered=round(cpu / tally.delivered * 1000, 5) if tally.delivered else None,
    )
