"""What is made of the figures of messages: ratios, targets, the estimate on paper, and the section of the page."""

from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from bench.figures import Sample
from bench.messages import report
from bench.messages.chapters import KIB, Chapter, chapters, fanout, held, idle, paper
from bench.messages.playing import LOAD, Idle, Played
from bench.messages.settings import CONNECTIONS, HELD, LARGE, SMALL
from bench.messages.sites import SERVERS
from bench.outcome import OURS
from bench.peers.messages import CENTRIFUGO_NAME, GORILLA
from bench.sections import found, replaced

ROUND = Sample(
    requests=100_000, seconds=10.0, p50_ms=5.0, p99_ms=20.0, cpu_seconds=0.5, resident_bytes=100_000_000,
    engine_seconds={LOAD: 0.4},
)  # fmt: skip


def played(cpu_us: float = 5.0, p99_ms: float = 20.0, **change: object) -> Played:
    return Played(replace(ROUND, cpu_seconds=cpu_us / 10, p99_ms=p99_ms, **change), 250.0)


def weighed(kib: float) -> Idle:
    return Idle(kib * KIB, 200_000_000)


def reached(chapter: Chapter) -> list[bool]:
    return [target.reached for target in chapter.targets]


def test_the_settings_are_those_that_were_asked_for():
    assert (LARGE.people, SMALL.people, HELD.people) == (5_001, 5_000, CONNECTIONS)
    for setting in (LARGE, SMALL, HELD):
        places = setting.places()
        assert [place for each in places for place in each] == list(range(setting.people))
        assert {len(each) for each in places} == {setting.listeners + 1}


@pytest.mark.parametrize(
    ("kib", "expected"), [(10, [True, True]), (20, [True, False]), (21, [False, False])]
)  # fmt: skip
def test_memory_is_compared_with_two_of_the_peers(kib: float, expected: list[bool]):
    chapter = idle({OURS: [weighed(kib)], GORILLA: [weighed(20)], CENTRIFUGO_NAME: [weighed(39)]})
    assert reached(chapter) == expected
    assert chapter.rows[1][3].startswith(f"{20 / kib:.2f} ")


def test_a_delivery_must_cost_less_and_come_no_later():
    rounds = {OURS: [played(5.0)], GORILLA: [played(7.5)], CENTRIFUGO_NAME: [played(5.9, p99_ms=19.0)]}
    assert reached(fanout(LARGE, rounds)) == [True, True, False, False]
    rounds = {OURS: [played(5.0)], GORILLA: [played(7.4, p99_ms=19.9)], CENTRIFUGO_NAME: [played(6.0)]}
    assert reached(fanout(LARGE, rounds)) == [False, False, True, True]


def test_the_load_s_own_share_and_what_else_ran_are_told():
    quiet, loud = played(), played(others=0.3)
    facts = fanout(SMALL, {OURS: [quiet, loud], GORILLA: [quiet, quiet]}).facts
    assert "4% of its core" in facts[0]
    assert "In 1 of 4 rounds" in facts[1]
    assert len(fanout(SMALL, {OURS: [quiet], GORILLA: [quiet]}).facts) == 1


@pytest.mark.parametrize(("p99_ms", "expected"), [(99.9, True), (100.0, False)])
def test_connections_are_held_when_all_hear_in_time(p99_ms: float, expected: bool):
    chapter = held(HELD, {OURS: [played(p99_ms=p99_ms, seconds=60.0)], GORILLA: [played(), played()]})
    assert reached(chapter) == [expected]
    assert "9,000 connections for 60 s, 100 % delivered" in chapter.targets[0].text
    assert "Teahouse 60 s" in chapter.does


def test_a_larger_node_is_computed_from_memory_and_cpu():
    [row] = paper({OURS: [weighed(8), weighed(16), weighed(10.24)]}, {OURS: [played(7.0)]}).rows
    assert row == (OURS, "102,400", "100,000", "1.0", "1.0")


def test_only_what_was_measured_is_told():
    rounds = {name: [played()] for name in SERVERS}
    memory = {name: [weighed(10)] for name in SERVERS}
    assert len(chapters({}, {})) == 0
    assert len(chapters({}, {SMALL.name: rounds})) == 1
    assert len(chapters(memory, {each.name: rounds for each in (LARGE, SMALL, HELD)})) == 5


def test_the_section_holds_everything_and_stays_apart_from_the_page():
    rounds = {name: [played()] for name in SERVERS}
    memory = {name: [weighed(10)] for name in SERVERS}
    told = chapters(memory, {each.name: rounds for each in (LARGE, SMALL, HELD)})
    today = datetime(2026, 1, 2, tzinfo=UTC)
    section = report.markdown(told, report.method(100, 3, 8.0), {"Go": "1.26", "ws": "8"}, "abc1234", today)
    assert "2026-01-02, commit `abc1234`. Go 1.26, ws 8." in section
    assert "3 rounds of 8 s" in section
    assert all(f"| {name} | " in section for name in SERVERS)
    assert "**not reached**" in section
    # The READMEs look for these words of the other tables.
    assert "other programs used" not in section
    assert "`make bench` on" not in section
    assert found(replaced("# Benchmarks\n", "messages", section), "messages") == section


def test_the_terminal_shows_every_table_and_target():
    rounds = {name: [played()] for name in SERVERS}
    output = StringIO()
    report.show(Console(file=output, width=140), [fanout(LARGE, rounds)])
    shown = output.getvalue()
    assert all(name in shown for name in SERVERS)
    assert "not reached: at least 1.5" in shown
