"""The closing table: right, complete, and readable on any terminal."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree as ET

import msgspec
import pytest
from rich.console import Console

from teahouse.demo.report import Report, close_books, percentile
from teahouse.demo.stage import Phase
from teahouse.demo.stage_rich import LiveStage, PlainStage
from teahouse.demo.table_rich import draw, show
from tests.demo.ledgers import a_good_day


def good_report() -> Report:
    return close_books(a_good_day(), 4.2)


def bad_report() -> Report:
    ledger = a_good_day()
    for number in range(9):
        ledger.wrong_refusals.add(f"asked [red]too much[/]: {number}")
    return close_books(ledger, 4.2)


def printed(report: Report, *, width: int = 80, **options: object) -> str:
    file = io.StringIO()
    show(Console(file=file, width=width, **options), report)
    return file.getvalue()


def test_the_figures_are_those_of_the_day():
    report = good_report()
    assert (report.sold, report.expired, report.cancelled, report.resold, report.went_without) == (3, 1, 0, 1, 1)
    assert (report.bought_in_the_rush, report.purchases_per_second, report.difference) == (3, 10, 0)
    assert report.refused == {"sold-out": 1, "sale-not-started": 1, "access-token-invalid": 1}
    [doubles] = report.doubles
    assert (doubles.pairs, doubles.alike) == (2, 2)
    [times] = report.times
    assert (times.kind, times.requests, times.p50, times.p99) == ("purchase", 100, 50.0, 99.0)


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(1, 0.5, 1), (1, 0.99, 1), (2, 0.5, 1), (100, 0.99, 99), (101, 0.99, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(count: int, share: float, expected: int):
    assert percentile([float(number) for number in range(1, count + 1)], share) == expected


def test_a_newcomer_reads_what_happened():
    text = printed(good_report())
    for words in ("5 buyers, 3 items", "of 3, all of them", "1 not paid in time", "sold-out", "answered alike"):
        assert words in text
    assert text.rstrip().endswith("Every promise was kept. Difference 0.")


def test_a_broken_promise_stands_out_and_says_how():
    text = printed(bad_report())
    assert "BROKEN  Every refusal says the right reason" in text
    assert "asked [red]too much[/]: 0" in text
    assert "and 4 more" in text
    assert "Broken: Every refusal says the right reason." in text
    assert "Every promise was kept" not in text


@pytest.mark.parametrize("width", [30, 46, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int):
    text = printed(bad_report(), width=width)
    assert max(map(len, text.splitlines())) <= width
    if width > 40:
        assert "".join(text.split()).count("access-token-invalid") == 1


def test_without_colour_nothing_is_lost(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(bad_report(), force_terminal=True)
    assert "\x1b[3" not in text
    assert "BROKEN" in text


def test_an_ascii_terminal_shows_the_table():
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    show(Console(file=file, width=80), good_report())
    file.flush()
    assert b"Every promise was kept" in raw.getvalue()


def test_a_day_without_anything_has_a_table_too():
    ledger = a_good_day()
    for part in (ledger.books, ledger.sold, ledger.orders, ledger.refused, ledger.twins, ledger.probes, ledger.seconds):
        part.clear()
    ledger.rush_seconds = 0.0
    report = close_books(ledger, 0.0)
    assert report.purchases_per_second == 0
    assert "unknown" in printed(report)


def test_machines_read_the_same_as_people():
    report = json.loads(msgspec.json.encode(bad_report()))
    assert report["kept"] is False
    assert [verdict["promise"] for verdict in report["promises"] if not verdict["kept"]] == [
        "Every refusal says the right reason"
    ]
    assert report["purchasesPerSecond"] == 10


def test_the_picture_is_an_svg_that_fetches_nothing():
    svg = draw(good_report())
    ET.fromstring(svg)
    assert "Difference" in svg
    assert "url(http" not in svg.replace(" ", "")
    assert "font-face" not in svg


def test_where_nobody_watches_live_each_phase_is_one_line():
    file = io.StringIO()
    stage = PlainStage(Console(file=file, width=80))
    for phase in (Phase.LOGIN, Phase.RUSH):
        stage.begin(phase, 3)
        for _ in range(3):
            stage.advance()
        stage.end()
    first, second = file.getvalue().splitlines()
    assert first.startswith("Buyers log in")
    assert "3/3" in first
    assert second.startswith("The sale starts")


@pytest.mark.parametrize("width", [30, 120])
def test_a_terminal_shows_bars_and_counters(width: int):
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True)
    with LiveStage(console, a_good_day()) as stage:
        stage.begin(Phase.RUSH, 2)
        stage.advance()
        stage.end()
    text = file.getvalue()
    assert "The sale" in text
    assert "sold" in text
    assert "p50" in text
