"""How the load speaks with each server, and what it does not let pass."""

import json
import os
import struct

import pytest

from bench.failures import BenchFailed
from bench.messages.books import Noted, content
from bench.messages.crowd import Crowd
from bench.messages.dialects import CENTRIFUGO, HUB, TEAHOUSE, Dialect, Event, Kind, Person
from bench.messages.frames import CLOSE, PING, PONG, TEXT, check_upgrade, masked, request, split
from bench.messages.sites import centrifugo_settings
from bench.messages.sockets import Listener

PERSON = Person("a" * 32, "header.payload.signature")
DELIVERIES = {
    "teahouse": (TEAHOUSE, b'{"type":"text","id":"7","to":"room:1","seq":1,"senderId":"b","content":"7 1.5 xx"}'),
    "hub": (HUB, b'{"type":"text","id":"7","to":"room:1","seq":1,"senderId":"b","content":"7 1.5 xx"}'),
    "centrifugo": (CENTRIFUGO, b'{"push":{"channel":"room:1","pub":{"data":"7 1.5 xx","info":{"user":"b"}}}}'),
}


class Wire:
    """Notes what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True


def unmasked(data: bytes) -> tuple[int, bytes]:
    size = data[1] & 0x7F
    start = 2
    if size == 126:
        size, start = int.from_bytes(data[2:4], "big"), 4
    mask, payload = data[start : start + 4], data[start + 4 : start + 4 + size]
    assert data[1] & 0x80
    assert len(data) == start + 4 + size
    return data[0], bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


def server_frame(payload: bytes, first: int = TEXT) -> bytes:
    size = len(payload)
    return (bytes((first, size)) if size < 126 else struct.pack("!BBH", first, 126, size)) + payload


def listening(dialect: Dialect = TEAHOUSE) -> tuple[Listener, Wire, list[Noted], list[str]]:
    wire, notes, lost = Wire(), list[Noted](), list[str]()
    return Listener(wire, dialect, 5, notes.append, lost.append), wire, notes, lost


@pytest.mark.parametrize(("dialect", "payload"), DELIVERIES.values(), ids=DELIVERIES)
def test_every_server_s_delivery_is_its_content(dialect: Dialect, payload: bytes):
    assert list(dialect.read(payload)) == [Event(Kind.DELIVERED, "7 1.5 xx")]


def test_a_number_that_was_sent_is_the_number_of_its_answer():
    said = json.loads(CENTRIFUGO.say(41, "r", content(41, 1.0)))
    assert said["publish"]["channel"] == "room:r"
    assert list(CENTRIFUGO.read(b'{"id":%d,"publish":{}}' % said["id"])) == [Event(Kind.ACKNOWLEDGED, "41")]
    said = json.loads(TEAHOUSE.say(41, "r", content(41, 1.0)))
    assert list(TEAHOUSE.read(b'{"type":"ack","id":"%b"}' % said["id"].encode())) == [Event(Kind.ACKNOWLEDGED, "41")]


def test_whoever_comes_in_waits_for_every_answer():
    def steps(dialect: Dialect, room: str | None, *, speaks: bool = False) -> int:
        return dialect.steps(dialect.entry(PERSON, room, speaks=speaks))

    assert steps(TEAHOUSE, "r") == 1  # the welcome; who is in a room is stored
    assert steps(HUB, None) == 1
    assert steps(HUB, "r", speaks=True) == 2
    assert steps(CENTRIFUGO, "r") == 2
    assert steps(CENTRIFUGO, "r", speaks=True) == 1  # who publishes there need not subscribe


@pytest.mark.parametrize(
    ("dialect", "payload"),
    [
        (TEAHOUSE, b'{"type":"error","problem":{}}'),
        (HUB, b'{"type":"error","detail":"not in this room"}'),
        (CENTRIFUGO, b'{"id":3,"error":{"code":103,"message":"permission denied"}}'),
        (CENTRIFUGO, b'{"push":{"disconnect":{"code":3000}}}'),
    ],
)
def test_an_error_of_a_server_ends_the_run(dialect: Dialect, payload: bytes):
    with pytest.raises(BenchFailed, match="a server said"):
        list(dialect.read(payload))


def test_centrifugo_is_told_to_check_tokens_and_to_keep_nothing():
    settings = centrifugo_settings(8000, "s" * 64)
    assert settings["client"] == {"token": {"hmac_secret_key": "s" * 64}}
    assert "history" not in json.dumps(settings)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 300, 65_535])
def test_a_frame_is_masked_and_whole(size: int):
    payload = os.urandom(size)
    assert unmasked(masked(TEXT, payload)) == (TEXT, payload)


@pytest.mark.parametrize("cut", range(1, 12))
def test_frames_are_split_wherever_a_read_ends(cut: int):
    stream = server_frame(b"a" * 200) + server_frame(b"b") + server_frame(b"", PING)
    frames, end = split(stream[:-cut])
    rest, _ = split(stream[end:])
    assert frames + rest == [(TEXT, b"a" * 200), (TEXT, b"b"), (PING, b"")]


def test_an_upgrade_that_is_refused_or_not_proven_ends_the_run():
    sent, accept = request(8000, "/message", "t.o.k")
    assert b"Authorization: Bearer t.o.k\r\n" in sent
    check_upgrade(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept, accept)
    for head in (b"HTTP/1.1 401 Unauthorized", b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x"):
        with pytest.raises(BenchFailed, match="upgrade"):
            check_upgrade(head, accept)


def test_deliveries_are_noted_whole_however_they_are_read():
    listener, _, notes, _ = listening()
    frame = server_frame(b"x" * 200)
    for data in (frame, frame + frame, frame[:50], frame[50:] + frame[:3], frame[3:]):
        listener.data_received(data)
    assert b"".join(data for _, _, data in notes) == frame * 5
    assert {place for _, place, _ in notes} == {5}


def test_pings_are_answered_wherever_they_stand():
    listener, wire, _, _ = listening()
    listener.data_received(server_frame(b"x" * 200) + server_frame(b"alive?", PING))
    assert [unmasked(data) for data in wire.written] == [(PONG, b"alive?")]
    listener, wire, _, _ = listening(CENTRIFUGO)
    push = b'{"push":{"channel":"room:1","pub":{"data":"%b"}}}' % (b"x" * 100)
    for payload in (b"{}", push + b"\n{}", b"{}\n" + push, push):
        listener.data_received(server_frame(payload))
    assert [unmasked(data) for data in wire.written] == [(TEXT, b"{}")] * 3


def test_a_ping_alone_is_not_taken_for_a_message_that_came():
    listener, _, notes, _ = listening()
    listener.data_received(server_frame(b"alive?", PING))
    assert notes == []
    listener.data_received(server_frame(b"alive?", PING) + server_frame(b"x" * 200))
    assert len(notes) == 1
    listener, _, notes, _ = listening(CENTRIFUGO)
    listener.data_received(server_frame(b"{}"))
    assert notes == []
    listener.data_received(server_frame(b'{"id":3,"publish":{}}\n{}'))
    assert len(notes) == 1


def test_a_connection_that_the_server_closes_is_a_loss():
    listener, _, _, lost = listening()
    listener.data_received(server_frame((4408).to_bytes(2, "big") + b"too slow", CLOSE))
    assert "too slow" in lost[0]
    crowd = Crowd(1, TEAHOUSE)
    crowd.gone.append(lost[0])
    with pytest.raises(BenchFailed, match="1 connections were lost; .*too slow"):
        crowd.check()


def test_whoever_leaves_is_no_loss():
    listener, wire, _, lost = listening()
    listener.abort()
    listener.connection_lost(None)
    assert wire.aborted
    assert lost == []
