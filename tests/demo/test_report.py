"""The closing table: right, complete, and readable on any terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from xml.etree import ElementTree as ET

import msgspec
import pytest
from rich.console import Console

from teahouse.demo.report import Report, close_books, percentile
from teahouse.demo.stage import Phase
from teahouse.demo.stage_rich import LiveStage, PlainStage
from teahouse.demo.table_rich import draw, show
from teahouse.demo.talk import Talk
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


def test_the_figures_of_the_room_are_those_of_the_day():
    report = good_report()
    room = report.room
    assert (room.sockets, room.sent, room.by_the_shop, room.acknowledged) == (5, 2, 1, 2)
    assert (room.expected, room.delivered, room.in_sequence) == (9, 9, True)
    assert room.p50 == pytest.approx(2.0, rel=0.03)
    assert (report.results_by_push, report.results_by_asking) == (4, 0)
    assert [(times.kind, times.requests, times.p50) for times in report.news] == [
        ("order paid", 3, 20.0),
        ("order expired", 1, 20.0),
    ]


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(1, 0.5, 1), (1, 0.99, 1), (2, 0.5, 1), (100, 0.99, 99), (101, 0.99, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(count: int, share: float, expected: int):
    assert percentile([float(number) for number in range(1, count + 1)], share) == expected


def test_a_newcomer_reads_what_happened():
    text = printed(good_report())
    for words in ("5 buyers, 3 items", "of 3, all of them", "1 not paid in time", "sold-out", "answered alike"):
        assert words in text
    flat = " ".join(text.split())
    for words in (
        "sockets 5 of 5 buyers, held to the end",
        "messages 2 1 by the shop, all stored",
        "delivered 9 of 9: 100 %, in sequence, each once",
        "results by push 4",
        "a message, to all receivers 9 2.0",
        "order expired, after its time was up 1 20.0",
    ):
        assert words in flat
    assert "by asking" not in flat
    assert text.rstrip().endswith("Every promise was kept. Difference 0.")


def talked(break_it: Callable[[Talk], None]) -> str:
    ledger = a_good_day()
    break_it(ledger.talk)
    return " ".join(printed(close_books(ledger, 4.2), width=120).split())


def test_what_went_wrong_in_the_room_is_read_there():
    def lose_a_message(talk: Talk) -> None:
        talk.tally.say("m3", 0, 3001, 3.0)
        for place in range(1, 3000):
            talk.tally.deliver("m3", place, 3.001)

    def mix_up(talk: Talk) -> None:
        talk.tally.disordered += 1
        talk.tally.lost[4408] += 2

    text = talked(lose_a_message)
    assert "messages 3 1 by the shop, 2 stored" in text
    assert "delivered 3,008 of 3,009: 99.9 %" in text
    text = talked(mix_up)
    assert "of 5 buyers, 2 lost with 4408" in text
    assert "100 %, not each once and in sequence" in text


def test_sockets_that_could_not_be_had_are_told_with_what_to_do():
    def have_none(talk: Talk) -> None:
        talk.sockets, talk.absent = 0, "ws://127.0.0.1:8001: Connection refused"
        talk.heard = {key: heard._replace(by_push=False) for key, heard in talk.heard.items()}

    def have_some(talk: Talk) -> None:
        talk.sockets, talk.absent = 4, "the upgrade was answered with 503"

    text = talked(have_none)
    assert "sockets 0 of 5: ws://127.0.0.1:8001: Connection refused. --realtime-url names the place." in text
    assert "results by asking 4" in text
    assert "sockets 4 of 5: the upgrade was answered with 503. messages" in talked(have_some)


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
    assert "results pushed" in " ".join(text.split())
