"""The books of messages: each listener hears each message once, nobody else hears it, and delays are exact."""

import json
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.failures import BenchFailed
from bench.messages.books import CONTENT_BYTES, Books, Heard, Noted, content, require_all
from bench.messages.dialects import CENTRIFUGO, TEAHOUSE
from bench.messages.frames import PING, TEXT

ROOMS = (range(3), range(3, 6))
SENT = 100.0


def frame(payload: bytes, first: int = TEXT) -> bytes:
    size = len(payload)
    return (bytes((first, size)) if size < 126 else struct.pack("!BBH", first, 126, size)) + payload


def delivery(number: int, sent: float = SENT) -> bytes:
    return frame(b'{"type":"text","id":"x","to":"room:1","seq":1,"content":%b}' % content(number, sent))


def ack(number: int) -> bytes:
    return frame(b'{"type":"ack","id":"%d","to":"room:1","seq":1}' % number)


def everything(numbers: range = range(4)) -> list[Noted]:
    """What comes when nothing goes wrong: message ``n`` belongs to room ``n % 2``, whose first place speaks."""
    notes: list[Noted] = []
    for number in numbers:
        room = ROOMS[number % 2]
        notes.append((SENT + 0.001, room.start, ack(number)))
        notes += [(SENT + 0.010 * (place - room.start), place, delivery(number)) for place in room[1:]]
    return notes


def books(notes: Sequence[Noted], numbers: range = range(4)) -> Heard:
    return Books(numbers, ROOMS).enter(notes, TEAHOUSE.read)


def test_a_round_in_which_everybody_heard_everything_is_complete():
    heard = books(everything())
    require_all("server", heard)
    assert len(heard.delays) == 8
    assert heard.quantile_ms(0.5) == pytest.approx(10)
    assert heard.quantile_ms(0.99) == pytest.approx(20)
    assert heard.frame_bytes == len(delivery(0)) - 4


@given(st.integers(0, 11))
def test_whatever_does_not_come_ends_the_run(place: int):
    notes = everything()
    lost = notes.pop(place)
    heard = books(notes)
    assert (heard.missing, heard.unacknowledged) == ((0, 1) if b'"ack"' in lost[2] else (1, 0))
    with pytest.raises(BenchFailed, match="server: 1 "):
        require_all("server", heard)


@given(st.integers(0, 11))
def test_whatever_comes_twice_ends_the_run(place: int):
    notes = everything()
    heard = books([*notes, notes[place]])
    assert heard.doubled == 1
    with pytest.raises(BenchFailed, match="1 came twice"):
        require_all("server", heard)


@pytest.mark.parametrize(
    ("number", "place"), [(0, 4), (0, 0), (7, 4)], ids=["another room", "the speaker", "a message nobody sent"]
)
def test_a_message_that_reaches_somebody_else_ends_the_run(number: int, place: int):
    heard = books([*everything(), (SENT, place, delivery(number))])
    assert heard.stray == 1
    with pytest.raises(BenchFailed, match="not for"):
        require_all("server", heard)


def test_a_round_in_which_nothing_was_said_ends_the_run():
    with pytest.raises(BenchFailed, match="nothing was delivered"):
        require_all("server", books([], range(0)))


def test_several_frames_in_one_read_are_all_entered():
    notes = [
        (SENT + 1, place, b"".join(data for _, other, data in everything() if other == place) + frame(b"", PING))
        for place in range(6)
    ]
    require_all("server", books(notes))


def test_several_texts_in_one_frame_of_centrifugo_are_all_entered():
    pushes = b"\n".join(b'{"push":{"channel":"room:1","pub":{"data":%b}}}' % content(each, SENT) for each in (0, 2))
    notes: list[Noted] = [(SENT, place, frame(pushes + b"\n{}")) for place in (1, 2)]
    notes += [(SENT, 0, frame(b'{"id":%d,"publish":{}}' % (number + 3))) for number in (0, 2)]
    notes += [
        (SENT, place, frame(b'{"push":{"channel":"r","pub":{"data":%b}}}' % content(each, SENT)))
        for each in (1, 3) for place in (4, 5)
    ]  # fmt: skip
    notes += [(SENT, 3, frame(b'{"id":%d,"publish":{}}' % (number + 3))) for number in (1, 3)]
    require_all("server", Books(range(4), ROOMS).enter(notes, CENTRIFUGO.read))


@given(st.integers(0, 10**6), st.floats(0, 10**8))
def test_content_is_json_of_one_size_with_the_moment_in_it(number: int, now: float):
    text = content(number, now)
    assert len(text) == CONTENT_BYTES
    told, sent, _ = json.loads(text).split(" ")
    assert int(told) == number
    assert float(sent) == pytest.approx(now, abs=1e-6)


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_a_delay_that_this_share_did_not_exceed(delays: list[float], share: float):
    heard = Heard(sorted(delays), 0, 0, 0, 0, 0.0)
    found = heard.quantile_ms(share) / 1e3
    assert sum(delay <= found * (1 + 1e-9) for delay in delays) >= share * len(delays) * (1 - 1e-9)
