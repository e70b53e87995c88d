"""Who is in which room, and how much may be under way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from teahouse.load import Plan
from teahouse.settings import MessagesSettings


@given(st.integers(2, 5000), st.integers(2, 300))
def test_everybody_is_in_one_room_and_nobody_is_alone(connections: int, room_size: int):
    rooms = Plan(connections, room_size).rooms()
    assert [number for room in rooms for number in room] == list(range(connections))
    assert all(2 <= len(room) <= room_size + 1 for room in rooms)


def test_a_short_load_has_a_message_and_large_rooms_have_few_under_way():
    assert Plan(rate=0.1, seconds=0.1).messages == 1
    assert Plan(room_size=20_000).most_under_way == 2_500
    assert Plan(room_size=10).most_under_way == 200_000


@given(st.integers(2, 5000), st.integers(2, 300))
def test_the_usual_rate_is_what_each_socket_may_send_to_a_server_as_it_comes(connections: int, room_size: int):
    plan = Plan(connections, room_size).at_usual_rate()
    rooms = plan.rooms()
    assert max(plan.rate / len(rooms) / len(room) for room in rooms) <= MessagesSettings().frames_per_second
    assert 0 < plan.rate <= 1000


def test_the_usual_rate_is_a_thousand_messages_a_second_where_the_sockets_suffice():
    assert Plan(5, 2).at_usual_rate().rate == 200
    assert Plan(20, 10).at_usual_rate().rate == Plan().at_usual_rate().rate == 1000
