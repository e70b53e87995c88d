"""Who does what, for days of any size."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from teahouse.demo.plan import MAX_CONNECTIONS, Ending, Manner, Plan, endings

SIZES = st.integers(1, 5000)


@given(SIZES)
def test_every_buyer_has_a_part_and_every_scenario_is_played(buyers: int):
    parts = Plan(buyers, 1).parts()
    assert len(parts) == buyers
    assert any(part.early for part in parts)
    assert any(part.greedy for part in parts)
    manners = Counter(part.manner for part in parts)
    assert manners[Manner.TWICE] >= 1
    assert buyers < 2 or manners[Manner.HANGS_UP] >= 1
    assert buyers < 3 or manners[Manner.PLAIN] >= buyers / 2 - 1


@given(SIZES)
def test_most_pay_and_from_three_on_every_ending_occurs(reservations: int):
    counts = Counter(endings(reservations))
    assert counts.total() == reservations
    assert counts[Ending.PAYS] + counts[Ending.PAYS_TWICE] >= reservations / 3
    if reservations >= 3:
        assert counts[Ending.VANISHES] >= 1
        assert counts[Ending.CANCELS] >= 1


def test_one_reservation_is_paid_and_none_ends_in_nothing():
    assert endings(1) == [Ending.PAYS_TWICE]
    assert endings(0) == []


def test_the_default_day_is_the_one_the_page_describes():
    plan = Plan(500, 100)
    parts = plan.parts()
    assert sum(part.early for part in parts) == 50
    assert Counter(part.manner for part in parts) == {Manner.PLAIN: 350, Manner.TWICE: 100, Manner.HANGS_UP: 50}
    assert Counter(endings(100))[Ending.VANISHES] == 20


@given(SIZES)
def test_people_talk_and_a_crowd_talks_less(sockets: int):
    messages = Plan(sockets, 1).messages(sockets)
    assert 2 <= messages <= max(2 * sockets, 2)
    assert messages == 2 or messages * sockets <= 40_000


@given(SIZES)
def test_a_big_day_stays_within_its_means(buyers: int):
    plan = Plan(buyers, buyers)
    assert plan.connections <= MAX_CONNECTIONS
    assert plan.lead_seconds < 5
    assert plan.pay_within_seconds <= 14
    assert buyers / plan.look_again_seconds(buyers) <= 1001
