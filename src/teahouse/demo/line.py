"""A buyer's line to the shop: over it they chat, hear what is back, and what became of their orders.

It outlives its sockets: what was missed between two of them is asked for, and what was not acknowledged is said again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

import msgspec

from teahouse.client import Socket
from teahouse.demo.ledger import Ledger
from teahouse.demo.talk import Push

_ORDER_EVENT = "order-"
_SHUTTING_DOWN = "shutting-down"


class _Problem(msgspec.Struct, frozen=True, gc=False):
    type: str = ""


class _Order(msgspec.Struct, gc=False, rename="camel"):
    order_id: str
    status: str


class Seen(msgspec.Struct, gc=False):
    """As much of a server's frame as a buyer looks at."""

    type: str
    id: str = ""
    seq: int = 0
    event: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")
    problem: _Problem = _Problem()
    recovered: bool = True


_decode = msgspec.json.Decoder(Seen).decode
_decode_order = msgspec.json.Decoder(_Order).decode


class Wire(Socket):
    """One socket of a line; ``over`` is called with the close code when it was welcomed and has ended."""

    __slots__ = ("_line", "_over")

    def __init__(self, line: Line, upgrade: tuple[bytes, bytes], over: Callable[[Wire, int], None]) -> None:
        super().__init__(upgrade)
        self._line = line
        self._over = over

    def received(self, payload: bytes) -> None:
        """See ``Socket``."""
        seen = _decode(payload)
        if seen.type == "welcome":
            self.let_in()
            self._line.connected(self)
        else:
            self._line.heard(seen)

    def ended(self, code: int) -> None:
        """See ``Socket``."""
        self._line.stirred()
        self._over(self, code)


class Line:
    """``place`` is the buyer's in the room. ``now`` gives Unix seconds of the server."""

    __slots__ = (
        "_above", "_buyer", "_catching_up", "_complete", "_last", "_ledger", "_mine", "_news", "_now", "_returned",
        "_room", "_stir", "_told", "_unacknowledged", "_wire", "place",
    )  # fmt: skip

    def __init__(self, buyer: int, room: str, *, ledger: Ledger, now: Callable[[], float]) -> None:
        self.place = 0
        self._buyer = buyer
        self._room = room
        self._ledger = ledger
        self._now = now
        self._wire: Wire | None = None
        self._returned = self._catching_up = False
        # Up to here it has everything; what it has beyond a gap; the last that came. An acknowledgement overtakes.
        self._complete = 0
        self._above: set[int] = set()
        self._last = 0
        self._mine: set[str] = set()
        self._unacknowledged: dict[str, bytes] = {}
        self._news = asyncio.Event()
        self._stir = asyncio.Event()
        self._told: dict[tuple[str, str], float] = {}

    # --- for the buyer ------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """There is a socket, and something can be said."""
        return self._wire is not None and self._wire.is_open

    def say(self, id: str, content: bytes) -> None:  # noqa: A002 - the frame's name
        """Says it to the room, and again over the next socket until it is acknowledged; ``content`` is JSON."""
        self._mine.add(id)
        self._unacknowledged[id] = content
        if self._wire is not None:
            self._wire.say(id, self._room, content)

    async def news(self) -> None:
        """Returns when the shop says that something is back, or when there is nothing to wait for any more."""
        await self._news.wait()
        self._news.clear()

    def wake(self) -> None:
        """Whoever waits for news need not."""
        self._news.set()

    async def hear(self, order_id: str, status: str, within: float) -> float | None:
        """When the buyer was told that the order has that status, in Unix seconds of the server.

        None where that is not told within so many seconds, or the line has no socket: it is told once.
        """
        try:
            async with asyncio.timeout(within):
                while (order_id, status) not in self._told and self.is_open:
                    self._stir.clear()
                    await self._stir.wait()
        except TimeoutError:
            pass
        return self._told.get((order_id, status))

    # --- what comes ---------------------------------------------------------------------------------------------------

    def connected(self, wire: Wire) -> None:
        """A socket was welcomed. Over a later one comes what was missed; what was not acknowledged is said again."""
        self._returned = self._catching_up = self._wire is not None
        self._wire = wire
        if self._returned:
            wire.sync(self._room, self._complete)
            for id_, content in self._unacknowledged.items():
                wire.say(id_, self._room, content)

    def stirred(self) -> None:
        """Whoever waits for something looks whether there is still a socket."""
        self._news.set()
        self._stir.set()

    def heard(self, seen: Seen) -> None:
        """Any frame but the welcome."""
        kind = seen.type
        if kind in ("text", "custom"):
            self._hear(seen)
        elif kind == "ack":
            self._be_acknowledged(seen)
        elif kind == "system":
            self._be_told(seen)
        elif kind == "error":
            self._be_refused(seen)
        elif kind == "synced":
            self._catching_up = False
            if not seen.recovered:
                self._ledger.surprises.add(f"buyer {self._buyer} could not be told what they had missed in the room")

    def _hear(self, seen: Seen) -> None:
        # What comes twice while it is caught up came before, or live in the meantime.
        if self._catching_up and self._has(seen.seq):
            return
        talk = self._ledger.talk
        if seen.seq <= self._last and not self._catching_up:
            talk.tally.disordered += 1
        self._last = max(self._last, seen.seq)
        self._note(seen.seq)
        if self._returned and seen.id in self._mine:
            # To another socket than the one that has said it.
            self._be_acknowledged(seen)
            return
        talk.deliver(seen.id, seen.seq, self.place, perf_counter())
        if seen.type == "custom":
            # The only one who sends these is the shop.
            self._news.set()

    def _be_acknowledged(self, seen: Seen) -> None:
        known = self._unacknowledged.pop(seen.id, None) is None
        if known and self._returned and seen.id in self._mine:
            # It was said again, and is stored once.
            return
        self._note(seen.seq)
        self._ledger.talk.acknowledge(seen.id, seen.seq, perf_counter())

    def _be_refused(self, seen: Seen) -> None:
        slug = seen.problem.type.rpartition("/")[2]
        # What a node that stops no longer takes is said to the next one.
        if slug != _SHUTTING_DOWN or seen.id not in self._unacknowledged:
            self._unacknowledged.pop(seen.id, None)
            self._ledger.talk.tally.refuse(seen.id, slug)

    def _be_told(self, seen: Seen) -> None:
        if not seen.event.startswith(_ORDER_EVENT):
            return
        order, now = _decode_order(seen.data), self._now()
        if seen.event != _ORDER_EVENT + order.status:
            self._ledger.surprises.add(f"{seen.event} was told of an order that is {order.status}")
        self._ledger.talk.pushes.append(Push(self._buyer, order.order_id, order.status, now))
        self._told[order.order_id, order.status] = now
        self._stir.set()

    # --- how far ------------------------------------------------------------------------------------------------------

    def _has(self, seq: int) -> bool:
        return seq <= self._complete or seq in self._above

    def _note(self, seq: int) -> None:
        self._above.add(seq)
        while self._complete + 1 in self._above:
            self._complete += 1
            self._above.discard(self._complete)
