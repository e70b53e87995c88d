"""What was said in the sale's room, and what was pushed to buyers. It only writes down; no I/O."""

from __future__ import annotations

from typing import NamedTuple

from teahouse.client import Tally


class Push(NamedTuple):
    """A buyer was told that an order is paid, cancelled or expired. ``at`` is in Unix seconds of the server."""

    buyer: int
    order_id: str
    status: str
    at: float


class Heard(NamedTuple):
    """How a buyer learned what became of an order: by push, or by the one question; ``seconds`` after it happened."""

    by_push: bool
    seconds: float


class Talk:
    """The room's books. ``wanted`` sockets were tried and ``sockets`` were welcomed; ``absent`` says why none was.

    ``returned`` counts how often a socket that was lost was had again, ``misnumbered`` messages that came with two
    sequence numbers.
    """

    def __init__(self) -> None:
        self.wanted = self.sockets = self.returned = 0
        self.absent = ""
        self.by_the_shop = 0
        self.tally = Tally()
        self.seqs: dict[str, int] = {}
        self.misnumbered = 0
        self.pushes: list[Push] = []
        self.heard: dict[tuple[str, str], Heard] = {}

    def acknowledge(self, id: str, seq: int, moment: float) -> None:  # noqa: A002 - the frame's name
        """Its sender knows that the message is stored; ``moment`` is a ``perf_counter``."""
        self._number(id, seq)
        self.tally.acknowledge(id, moment)

    def deliver(self, id: str, seq: int, place: int, moment: float) -> None:  # noqa: A002 - the frame's name
        """The socket at that place hears the message."""
        self._number(id, seq)
        self.tally.deliver(id, place, moment)

    def _number(self, id: str, seq: int) -> None:  # noqa: A002 - the frame's name
        if self.seqs.setdefault(id, seq) != seq:
            self.misnumbered += 1
