"""The closing table: every failure is named, and where it can be mended."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from teahouse.load import Delays, Report, ServerCost
from teahouse.load.table_rich import show

GOOD = Report(
    connections=1000,
    rooms=100,
    room_size=10,
    smallest_room=10,
    largest_room=10,
    rate=500.0,
    seconds=20.0,
    held=1000,
    lost={},
    planned=10_000,
    sent=10_000,
    acknowledged=10_000,
    expected=90_000,
    delivered=90_000,
    delivered_ratio=1.0,
    doubled=0,
    disordered=0,
    refused={},
    delivered_per_second=4500.0,
    to_ack=Delays(10_000, 1.0, 10.4, 67.5),
    to_receivers=Delays(90_000, 1.2, 9.7, 57.2),
    lateness_ms=4.5,
    own_cpu_seconds=1.5,
    server=ServerCost(81 << 20, 90 << 20, 95 << 20, 97 << 20, 5243, 7.62, 0.08467),
    complete=True,
)


def printed(width: int = 90, **changes: Any) -> str:
    file = io.StringIO()
    show(Console(file=file, width=width), msgspec.structs.replace(GOOD, **changes))
    return " ".join(file.getvalue().split())


def test_a_good_load_is_read_at_a_glance():
    text = printed()
    for words in (
        "100 rooms of 10, 500 messages a second, 20.0 s",
        "held to the end 1,000 of 1,000",
        "delivered 90,000 of 90,000: 100 %",
        "each receiver 90,000 1.2 9.7 57.2",
        "the load's own lateness 4.5",
        "memory a connection 5,243 bytes",
        "memory in all 95.0 MiB; 81.0 at the start, 90.0 after the logins, 97.0 in the end",
        "for 1,000 delivered 84.67 ms",
    ):
        assert words in text
    assert text.endswith("Everybody heard everything, once and in order.")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sent": 9000}, "Not everything was sent: 1,000 messages are missing."),
        ({"delivered": 89_999}, "Not everything was delivered: 1 deliveries are missing."),
        ({"acknowledged": 9999}, "Not everything was acknowledged, heard once and in order."),
        ({"doubled": 3}, "heard twice 3"),
        ({"disordered": 4}, "out of order 4"),
        ({"lost": {4408: 2}}, "lost with 4408 2 too slow"),
        ({"refused": {"too-many-frames": 5}}, "messages.frames_per_second"),
        ({"refused": {"[red]not-found": 5}}, "refused: [red]not-found 5"),
    ],
)
def test_what_failed_is_named(changes: dict[str, Any], words: str):
    assert words in printed(**changes, complete=False)


def test_what_is_almost_everything_is_not_called_100_percent():
    assert ": 100 %" not in printed(delivered=89_999, delivered_ratio=89_999 / 90_000, complete=False)


def test_without_a_process_nothing_is_told_of_it():
    assert "cost" not in printed(server=None)


def test_rooms_that_differ_in_size_are_told_so():
    assert "2 rooms of 2 to 3, 500" in printed(rooms=2, room_size=2, smallest_room=2, largest_room=3)
    assert "1 room of 4, 500" in printed(rooms=1, smallest_room=4, largest_room=4)


def test_what_is_missing_because_it_was_too_fast_names_the_remedies():
    text = printed(delivered=89_000, refused={"too-many-frames": 5}, complete=False)
    assert text.endswith("lower --rate, ask for more --connections, or raise its messages.frames_per_second.")
    assert "5 messages were above what the server takes of one socket" in text
