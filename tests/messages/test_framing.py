"""However a stream is cut, and whatever is in it."""

from __future__ import annotations

import asyncio
import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from teahouse.messages.assembling import WireLimits
from teahouse.messages.framing import close_payload, frame, read_header, unmask
from teahouse.messages.outbox import Outbox
from teahouse.messages.websocket import WebSocket
from tests.messages.raw_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode


class Wire:
    """What the socket does to its transport."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_ended = False

    def write(self, data: bytes) -> None:
        assert not self.is_ended, "nothing follows the end"
        self.written += data

    def write_eof(self) -> None:
        self.is_ended = True

    def close(self) -> None:
        self.is_ended = True

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Ear(WebSocket):
    """Remembers what it heard."""

    __slots__ = ("ends", "heard", "wire")

    takes_binary = True

    def __init__(self, limits: WireLimits) -> None:
        super().__init__(Outbox(), limits)
        self.heard: list[str | bytes] = []
        self.ends = 0
        self.wire = Wire()
        self.connection_made(self.wire)  # type: ignore[arg-type]  # as much of a transport as is used
        self.accept(b"")

    def received(self, text: str) -> None:
        self.heard.append(text)

    def received_binary(self, payload: bytes) -> None:
        self.heard.append(payload)

    def ending(self) -> None:
        self.ends += 1


def hear(stream: bytes, cuts: list[int], limits: WireLimits = WireLimits()) -> Ear:  # noqa: B008
    """What is heard of the stream when it comes in pieces that end at these places."""

    async def listen() -> Ear:
        ear = Ear(limits)
        places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
        for start, end in pairwise(places):
            ear.data_received(stream[start:end])
        ear.flush()
        return ear

    return asyncio.run(listen())


def frames_in(data: bytes) -> list[tuple[int, bytes]]:
    """Unmasked frames, as a client reads them."""
    found = []
    while data:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        found.append((data[0] & 0x0F, data[start : start + size]))
        data = data[start + size :]
    return found


messages = st.text(max_size=300) | st.binary(max_size=300)


def fragments(message: str | bytes, cuts: list[int], pings: list[bool]) -> bytes:
    """The message in fragments that end at these places, with pings in between."""
    payload = message.encode() if isinstance(message, str) else message
    places = [*sorted({min(cut, len(payload)) for cut in cuts}), len(payload)]
    opcode, start, stream = TEXT if isinstance(message, str) else BINARY, 0, b""
    for place, end in enumerate(places):
        stream += encode(opcode, payload[start:end], fin=place == len(places) - 1)
        if place < len(pings) and pings[place]:
            stream += encode(PING, b"%d" % place)
        opcode, start = CONTINUATION, end
    return stream


places = st.lists(st.integers(0, 400), max_size=8)


@given(
    st.lists(st.tuples(messages, places, st.lists(st.booleans(), max_size=9)), max_size=4),
    st.lists(st.integers(0, 3000), max_size=40),
)
@example([("", [], [])], [])
@example([("茶🍵", [1, 2, 3, 4, 5], [True] * 9)], list(range(60)))
def test_messages_are_heard_however_they_are_fragmented_and_cut(
    sent: list[tuple[str | bytes, list[int], list[bool]]], cuts: list[int]
):
    stream = b"".join(fragments(*each) for each in sent)
    ear = hear(stream + encode(CLOSE, close_payload(1000, "bye")), cuts)
    assert ear.heard == [message for message, _, _ in sent]
    answers = frames_in(bytes(ear.wire.written))
    assert answers[-1] == (CLOSE, b"\x03\xe8")
    assert {opcode for opcode, _ in answers[:-1]} <= {PONG}
    assert len(answers) - 1 == stream_pings(sent)
    assert ear.ends == 1


def stream_pings(sent: list[tuple[str | bytes, list[int], list[bool]]]) -> int:
    """How many pings are between the fragments."""
    count = 0
    for message, cuts, pings in sent:
        size = len(message.encode() if isinstance(message, str) else message)
        ends = len({min(cut, size) for cut in cuts}) + 1
        count += sum(pings[:ends])
    return count


any_frame = st.builds(
    encode,
    st.sampled_from([TEXT, TEXT, BINARY, CONTINUATION, CONTINUATION, PING, PONG, CLOSE, 0x3]),
    st.binary(max_size=130)
    | st.text(max_size=130).map(str.encode)
    | st.integers(0, 6000).map(lambda code: code.to_bytes(2)),
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 0, 0, 0, 4]),
    masked=st.sampled_from([True, True, True, True, True, False]),
)
streams = st.lists(any_frame | st.binary(max_size=20), max_size=8).map(b"".join)


@given(streams, st.lists(st.integers(0, 400), max_size=20))
def test_whatever_comes_is_heard_or_ends_the_socket_once(stream: bytes, cuts: list[int]):
    ear = hear(stream, cuts, WireLimits(message_bytes=200, fragments=5))
    assert ear.ends <= 1
    assert bool(ear.ends_at) == bool(ear.ends)
    assert len(ear._pending or b"") <= 131
    closes = [payload for opcode, payload in frames_in(bytes(ear.wire.written)) if opcode == CLOSE]
    assert len(closes) == ear.ends


@given(streams, st.lists(st.integers(0, 400), max_size=20))
def test_where_a_stream_is_cut_changes_nothing(stream: bytes, cuts: list[int]):
    limits = WireLimits(message_bytes=200, fragments=5)
    whole, pieces = hear(stream, [], limits), hear(stream, cuts, limits)
    assert whole.heard == pieces.heard
    assert whole.ends == pieces.ends
    assert whole.wire.written == pieces.wire.written


@given(st.binary(max_size=1000), st.binary(min_size=4, max_size=4))
def test_masking_twice_changes_nothing(payload: bytes, mask: bytes):
    masked = unmask(mask, payload)
    assert masked == bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    assert unmask(mask, masked) == payload


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_header_says_where_its_payload_is(size: int):
    data = encode(TEXT, b"x" * size)
    header: Any = read_header(data, 0)
    assert header.end == len(data)
    assert header.end - header.start == size
    for short in range(header.start):
        assert isinstance(read_header(data[:short], 0), int)


@pytest.mark.parametrize("wide", [(126, 2, 125), (127, 8, 65535), (127, 8, 2**63)])
def test_a_length_is_written_in_as_few_bytes_as_it_takes(wide: tuple[int, int, int]):
    marker, count, length = wide
    head = bytes((0x80 | TEXT, 0x80 | marker)) + length.to_bytes(count, "big") + b"mask"
    ear = hear(head, [])
    assert frames_in(bytes(ear.wire.written)) == [(CLOSE, close_payload(1002, "wrong length"))]


def test_a_message_that_comes_byte_by_byte_takes_the_memory_of_its_bytes():
    stream = encode(TEXT, "茶".encode() * 1000)
    ear = hear(stream[:-1], list(range(len(stream))))
    assert ear._message is not None
    assert sys.getsizeof(ear._message.data) < 2 * len(stream)


def test_whoever_floods_a_socket_that_was_closed_is_not_listened_to():
    async def flood() -> Ear:
        ear = Ear(WireLimits())
        ear.close(4429, "too fast")
        ear.data_received(encode(PING) * 200)
        assert not ear.wire.is_ended
        ear.data_received(encode(PING) * 100)
        return ear

    ear = asyncio.run(flood())
    assert ear.wire.is_ended
    assert frames_in(bytes(ear.wire.written)) == [(CLOSE, close_payload(4429, "too fast"))]


@given(st.text(max_size=200))
def test_a_reason_is_cut_between_characters(reason: str):
    payload = close_payload(1000, reason)
    assert len(payload) <= 125
    assert reason.startswith(payload[2:].decode())


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_frame_is_written_as_it_is_read(size: int):
    written = frame(TEXT, b"x" * size)
    assert written[0] == 0x80 | TEXT
    assert written.endswith(b"x" * size)
    assert len(written) - size == (2 if size < 126 else 4 if size < 65536 else 10)
