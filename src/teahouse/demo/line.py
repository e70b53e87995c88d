"""A buyer's line to the shop: the socket over which they chat, hear what is back, and what became of their orders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

import msgspec

from teahouse.client import Socket
from teahouse.demo.ledger import Ledger
from teahouse.demo.talk import Push

_ORDER_EVENT = "order-"


class _Problem(msgspec.Struct, frozen=True, gc=False):
    type: str = ""


class _Order(msgspec.Struct, gc=False, rename="camel"):
    order_id: str
    status: str


class _Seen(msgspec.Struct, gc=False):
    """As much of a server's frame as a buyer looks at."""

    type: str
    id: str = ""
    seq: int = 0
    event: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")
    problem: _Problem = _Problem()


_decode = msgspec.json.Decoder(_Seen).decode
_decode_order = msgspec.json.Decoder(_Order).decode


class Line(Socket):
    """``place`` is the buyer's in the room. ``now`` gives Unix seconds of the server; ``over`` is called with the close
    code when a line that was welcomed has ended.
    """

    __slots__ = ("_buyer", "_heard", "_ledger", "_news", "_now", "_over", "_stir", "_told", "place")

    def __init__(
        self,
        buyer: int,
        upgrade: tuple[bytes, bytes],
        *,
        ledger: Ledger,
        now: Callable[[], float],
        over: Callable[[Line, int], None],
    ) -> None:
        super().__init__(upgrade)
        self.place = 0
        self._buyer = buyer
        self._ledger = ledger
        self._now = now
        self._over = over
        self._heard = 0
        self._news = asyncio.Event()
        self._stir = asyncio.Event()
        self._told: dict[tuple[str, str], float] = {}

    # --- for the buyer ------------------------------------------------------------------------------------------------

    async def news(self) -> None:
        """Returns when the shop says that something is back, or when there is nothing to wait for any more."""
        await self._news.wait()
        self._news.clear()

    def wake(self) -> None:
        """Whoever waits for news need not."""
        self._news.set()

    async def hear(self, order_id: str, status: str, within: float) -> float | None:
        """When the buyer was told that the order has that status, in Unix seconds of the server.

        None where that is not told within so many seconds, or the line is gone.
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

    def received(self, payload: bytes) -> None:
        """See ``Socket``."""
        seen = _decode(payload)
        kind = seen.type
        if kind in ("text", "custom"):
            self._hear(seen)
        elif kind == "ack":
            self._ledger.talk.acknowledge(seen.id, seen.seq, perf_counter())
        elif kind == "system":
            self._be_told(seen)
        elif kind == "error":
            self._ledger.talk.tally.refuse(seen.id, seen.problem.type.rpartition("/")[2])
        elif kind == "welcome":
            self.let_in()

    def ended(self, code: int) -> None:
        """See ``Socket``."""
        self._news.set()
        self._stir.set()
        self._over(self, code)

    def _hear(self, seen: _Seen) -> None:
        talk = self._ledger.talk
        if seen.seq <= self._heard:
            talk.tally.disordered += 1
        self._heard = seen.seq
        talk.deliver(seen.id, seen.seq, self.place, perf_counter())
        if seen.type == "custom":
            # The only one who sends these is the shop.
            self._news.set()

    def _be_told(self, seen: _Seen) -> None:
        if not seen.event.startswith(_ORDER_EVENT):
            return
        order, now = _decode_order(seen.data), self._now()
        if seen.event != _ORDER_EVENT + order.status:
            self._ledger.surprises.add(f"{seen.event} was told of an order that is {order.status}")
        self._ledger.talk.pushes.append(Push(self._buyer, order.order_id, order.status, now))
        self._told[order.order_id, order.status] = now
        self._stir.set()
