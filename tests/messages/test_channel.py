"""The order of one conversation: whatever comes, and however, is given out by one, each once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from teahouse.messages import channel as channel_module
from teahouse.messages.channel import Channel, Ordering

seqs = st.integers(1, 30)


def taken(ordering: Ordering[int], seq: int) -> list[int]:
    return list(ordering.arrive(seq, seq) or ())


@given(base=st.integers(0, 10), arrivals=st.lists(seqs, max_size=80), begins_at=st.integers(0, 80))
def test_any_interleaving_is_given_out_by_one_from_the_base(base: int, arrivals: list[int], begins_at: int):
    ordering: Ordering[int] = Ordering()
    given_out: list[int] = []
    for number, seq in enumerate(arrivals):
        if number == begins_at:
            given_out += ordering.begin(base)
        given_out += taken(ordering, seq)
    given_out += ordering.begin(base)
    assert given_out == list(range(base + 1, base + 1 + len(given_out)))
    arrived = {seq for seq in arrivals if seq > base}
    # Everything that has no hole before it has been given out.
    assert base + len(given_out) + 1 not in arrived
    gap = ordering.gap
    assert (gap is not None) == (max(arrived, default=0) > base + len(given_out))
    if gap is not None:
        assert set(range(gap[0], gap[1] + 1)).isdisjoint(arrived)


@given(arrivals=st.lists(seqs, max_size=60), told=seqs)
def test_filling_every_gap_gives_out_everything_that_was_told(arrivals: list[int], told: int):
    ordering: Ordering[int] = Ordering()
    given_out = list(ordering.begin(0))
    for seq in arrivals:
        given_out += taken(ordering, seq)
    ordering.told(told)
    while (gap := ordering.gap) is not None:
        first, last = gap
        assert first <= last
        given_out += taken(ordering, first)
    assert given_out == list(range(1, max([*arrivals, told]) + 1))


@given(arrivals=st.lists(seqs, min_size=1, max_size=60))
def test_a_double_is_told_from_what_came_early(arrivals: list[int]):
    ordering: Ordering[int] = Ordering()
    ordering.begin(0)
    seen: set[int] = set()
    for seq in arrivals:
        assert (ordering.arrive(seq, seq) is None) == (seq in seen)
        assert not ordering.lacks(seq)
        seen.add(seq)


@given(arrivals=st.permutations(range(2, 12)))
def test_what_is_too_early_to_be_kept_is_known_to_be_missing(arrivals: list[int]):
    kept = channel_module.MOST_EARLY
    channel_module.MOST_EARLY = 4
    try:
        ordering: Ordering[int] = Ordering()
        ordering.begin(0)
        for seq in arrivals:
            assert not taken(ordering, seq)
        assert ordering.gap == (1, 1)
        assert taken(ordering, 1) == [1, 2, 3, 4, 5]
        assert ordering.gap == (6, 11)
    finally:
        channel_module.MOST_EARLY = kept


def test_beginning_twice_only_tells_how_far_the_store_is():
    ordering: Ordering[int] = Ordering()
    assert not ordering.begin(3)
    assert not ordering.begin(5)
    assert ordering.gap == (4, 5)


def test_what_does_not_exist_is_given_up_and_asked_for_when_it_is_heard_of_again():
    ordering: Ordering[int] = Ordering()
    ordering.begin(0)
    assert not taken(ordering, 1_000_000)
    ordering.give_up()
    assert ordering.gap is None
    assert taken(ordering, 1) == [1]
    assert not taken(ordering, 3)
    assert ordering.gap == (2, 2)


def test_only_a_room_knows_its_receivers_itself():
    assert Channel("room:" + "0" * 32).receivers == {}
    assert Channel(f"user:{'0' * 32}:{'1' * 32}").receivers is None
