"""A member of a room: their socket, which tells the tally all that comes."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import msgspec

from teahouse.client import Socket, Tally


class _Problem(msgspec.Struct, gc=False):
    type: str = ""


class _Seen(msgspec.Struct, gc=False):
    """As much of a server's frame as a load looks at."""

    type: str
    id: str | None = None
    seq: int = 0
    problem: _Problem | None = None


_decode = msgspec.json.Decoder(_Seen).decode


class Member(Socket):
    """``place`` is the person's in the room; ``over`` is called when a welcomed socket has ended."""

    __slots__ = ("_heard", "_over", "_tally", "place", "room")

    def __init__(
        self,
        tally: Tally,
        room: str,
        place: int,
        upgrade: tuple[bytes, bytes],
        over: Callable[[Member, int], None],
    ) -> None:
        super().__init__(upgrade)
        self.room = room
        self.place = place
        self._tally = tally
        self._over = over
        self._heard = 0

    def received(self, payload: bytes) -> None:
        """See ``Socket``."""
        seen = _decode(payload)
        kind = seen.type
        if kind == "text" and seen.id is not None:
            if seen.seq <= self._heard:
                self._tally.disordered += 1
            self._heard = seen.seq
            self._tally.deliver(seen.id, self.place, perf_counter())
        elif kind == "ack" and seen.id is not None:
            self._tally.acknowledge(seen.id, perf_counter())
        elif kind == "error":
            self._tally.refuse(seen.id or "", seen.problem.type.rpartition("/")[2] if seen.problem else "unknown")
        elif kind == "welcome":
            self.let_in()

    def ended(self, code: int) -> None:
        """See ``Socket``."""
        self._over(self, code)
