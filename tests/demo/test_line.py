"""A buyer's line over its sockets: what is asked for, what is said again, and what is dropped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from teahouse.client import pauses
from teahouse.client.wire import TEXT
from teahouse.demo.ledger import Ledger
from teahouse.demo.line import Line, Wire
from tests.load.gateways import frame

HEAD = b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: proof\r\n\r\n"
ROOM = "tea"


class Network(asyncio.Transport):
    """Keeps what the client writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        """Nothing closes by itself here."""

    def abort(self) -> None:
        """Nor is it cut."""


class Connection:
    """One socket of the line, seen from the server."""

    def __init__(self, line: Line) -> None:
        self.codes: list[int] = []
        self.network = Network()
        self.wire = Wire(line, (b"", b"proof"), lambda _wire, code: self.codes.append(code))
        self.wire.connection_made(self.network)
        self.wire.data_received(HEAD)
        self.send(type="welcome")

    def send(self, **what: Any) -> None:
        self.wire.data_received(frame(json.dumps(what).encode()))

    def say(self, seq: int, id: str) -> None:
        self.send(type="text", id=id, seq=seq, content="x")

    def close(self) -> None:
        self.wire.data_received(frame((1012).to_bytes(2, "big"), 0x88))
        self.wire.connection_lost(None)

    @property
    def got(self) -> list[dict[str, Any]]:
        return list(self._frames())

    def _frames(self) -> Iterator[dict[str, Any]]:
        data, place = self.network.written, 0
        while place < len(data):
            # Short enough for a head of two bytes and a mask.
            size = data[place + 1] & 0x7F
            mask, covered = data[place + 2 : place + 6], data[place + 6 : place + 6 + size]
            if data[place] == TEXT:
                yield json.loads(bytes(byte ^ mask[at % 4] for at, byte in enumerate(covered)))
            place += 6 + size


class Day:
    """A ledger, and the line of the second of three people in the room."""

    def __init__(self) -> None:
        self.ledger = Ledger(buyers=3, stock=1, limit=1)
        self.tally = self.ledger.talk.tally
        self.line = Line(1, ROOM, ledger=self.ledger, now=lambda: 0.0)
        self.line.place = 1

    def somebody_says(self, *ids: str) -> None:
        for id_ in ids:
            self.tally.say(id_, 0, 3, 0.0)

    def i_say(self, id: str) -> None:
        self.tally.say(id, 1, 3, 0.0)
        self.line.say(id, b'"x"')


async def test_what_is_asked_for_is_everything_above_the_first_gap():
    day = Day()
    first = Connection(day.line)
    day.somebody_says("a", "b", "c")
    day.i_say("mine")
    first.say(1, "a")
    # The acknowledgement overtakes what somebody else has said before.
    first.send(type="ack", id="mine", seq=4)
    first.say(2, "b")
    first.close()
    second = Connection(day.line)
    assert second.got == [{"type": "sync", "after": {f"room:{ROOM}": 2}}]
    second.say(3, "c")
    second.say(4, "mine")
    second.send(type="synced", to=f"room:{ROOM}", recovered=True)
    assert (day.tally.delivered, day.tally.acknowledged) == (3, 1)
    assert (day.tally.doubled, day.tally.disordered) == (0, 0)


async def test_what_was_not_acknowledged_is_said_again_and_counts_once():
    day = Day()
    first = Connection(day.line)
    day.i_say("m1")
    day.i_say("m2")
    first.send(type="ack", id="m1", seq=1)
    first.close()
    assert not day.line.is_open
    second = Connection(day.line)
    assert [each.get("id") for each in second.got] == [None, "m2"]
    # It had been stored: it comes by sync, then live, and is acknowledged once more.
    second.say(2, "m2")
    second.send(type="synced", recovered=True)
    second.send(type="ack", id="m2", seq=2)
    assert (day.tally.acknowledged, day.tally.doubled) == (2, 0)


async def test_what_a_node_that_stops_did_not_take_is_said_to_the_next():
    day = Day()
    first = Connection(day.line)
    day.i_say("m1")
    first.send(type="error", id="m1", problem={"type": "/problems/shutting-down"})
    first.close()
    assert [each.get("id") for each in Connection(day.line).got] == [None, "m1"]
    assert not day.tally.refused


async def test_a_message_that_comes_live_and_by_sync_is_heard_once():
    day = Day()
    Connection(day.line).close()
    day.somebody_says("a", "b")
    second = Connection(day.line)
    second.say(2, "b")
    second.say(1, "a")
    second.say(2, "b")
    second.send(type="synced", recovered=True)
    assert (day.tally.delivered, day.tally.doubled, day.tally.disordered) == (2, 0, 0)
    # Nobody asked for it any more.
    second.say(2, "b")
    assert (day.tally.doubled, day.tally.disordered) == (1, 1)


async def test_what_cannot_be_recovered_is_told():
    day = Day()
    Connection(day.line).close()
    Connection(day.line).send(type="synced", recovered=False)
    assert day.ledger.surprises.count == 1


async def test_who_waits_for_a_push_does_not_wait_for_a_lost_socket():
    day = Day()
    connection = Connection(day.line)
    waiting = asyncio.create_task(day.line.hear("o1", "paid", 60.0))
    await asyncio.sleep(0)
    connection.close()
    async with asyncio.timeout(5):
        assert await waiting is None


def test_pauses_grow_have_chance_in_them_and_end():
    every = [list(pauses(attempts=6, first=1.0, longest=10.0)) for _ in range(50)]
    for each in every:
        assert len(each) == 6
        assert all(most / 2 <= pause <= most for pause, most in zip(each, (1, 2, 4, 8, 10, 10), strict=True))
    assert len({each[0] for each in every}) > 40
