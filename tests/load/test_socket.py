"""A person's socket: what comes in parts, and what no server may send."""

from __future__ import annotations

import asyncio
import json
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teahouse.client import Refused, Tally
from teahouse.load.socket import Member
from tests.load.gateways import frame

UPGRADE = (b"GET /message", b"proof")
HEAD = b"HTTP/1.1 101 x\r\nsec-websocket-accept:proof\r\n\r\n"
WELCOME = frame(b'{"type":"welcome"}')


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


def connected(tally: Tally, ended: list[int]) -> tuple[Member, Wire]:
    socket, wire = Member(tally, "tea", 1, UPGRADE, lambda _socket, code: ended.append(code)), Wire()
    socket.connection_made(wire)
    return socket, wire


def heard(number: int, content: str = "") -> bytes:
    frame_ = {"type": "text", "id": str(number), "to": "room:tea", "seq": number + 1, "content": content}
    return frame(json.dumps(frame_).encode())


@given(st.lists(st.integers(1, 600), max_size=30), st.lists(st.integers(0, 300), min_size=1, max_size=12))
def test_frames_are_the_same_however_the_network_cuts_them(cuts: list[int], lengths: list[int]):
    async def hear() -> None:
        tally = Tally()
        socket, _ = connected(tally, [])
        welcomed = socket.welcomed
        for number in range(len(lengths)):
            tally.say(str(number), 0, 3, perf_counter())
        stream = HEAD + WELCOME + b"".join(heard(number, "x" * length) for number, length in enumerate(lengths))
        for cut in cuts:
            socket.data_received(stream[:cut])
            stream = stream[cut:]
        socket.data_received(stream)
        assert welcomed is not None
        assert welcomed.done()
        assert (tally.delivered, tally.doubled, tally.disordered) == (len(lengths), 0, 0)

    asyncio.run(hear())


@pytest.mark.parametrize(
    "data",
    [
        frame(b"\xff", 0x82),
        frame(b'{"type":', 0x01),
        frame(b"", 0xC1),
        frame(b"not JSON"),
        frame(b'{"type":"\xff"}'),
        frame(b"{}"),
        b"\x81\x84mask",
        b"\x81\x7f" + (1 << 40).to_bytes(8, "big"),
    ],
)
async def test_what_no_server_may_send_cuts_the_socket(data: bytes):
    ended: list[int] = []
    socket, wire = connected(Tally(), ended)
    socket.data_received(HEAD + WELCOME)
    assert socket.is_open
    socket.data_received(data)
    assert wire.aborted
    socket.connection_lost(None)
    assert ended == [1002]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "answered with 200"),
        (b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: another\r\n\r\n", "did not prove"),
        (b"x" * 70_000, "the answer's head does not end"),
    ],
)
async def test_another_answer_than_an_upgrade_is_a_refusal(data: bytes, words: str):
    socket, wire = connected(Tally(), [])
    welcomed = socket.welcomed
    assert welcomed is not None
    socket.data_received(data)
    assert wire.aborted
    with pytest.raises(Refused, match=words):
        await welcomed
    socket.connection_lost(None)


async def test_what_comes_after_the_end_is_passed_over():
    ended: list[int] = []
    socket, wire = connected(Tally(), ended)
    socket.data_received(HEAD + WELCOME + frame((4401).to_bytes(2, "big"), 0x88))
    assert wire.closed
    socket.connection_lost(None)
    assert ended == [4401]
    before = wire.written
    socket.leave()
    assert wire.written == before
    assert not socket.is_open


async def test_frames_that_a_load_does_not_look_at_change_nothing():
    tally = Tally()
    socket, wire = connected(tally, [])
    socket.data_received(HEAD + WELCOME + frame(b'{"type":"system","event":"x","data":{}}') + frame(b"", 0x8A))
    assert socket.is_open
    assert not wire.aborted
    assert (tally.delivered, tally.doubled, tally.acknowledged) == (0, 0, 0)
