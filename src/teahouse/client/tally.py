"""What was sent, and who has heard it: the books of a conversation. No I/O, and memory only for what is under way."""

from __future__ import annotations

from collections import Counter

from teahouse.client.histogram import Histogram


class _UnderWay:
    """A message that its sender or a receiver still waits for."""

    __slots__ = ("acknowledged", "heard", "left", "sent_at")

    def __init__(self, sender: int, room_size: int, sent_at: float) -> None:
        self.sent_at = sent_at
        self.acknowledged = False
        self.left = room_size - 1
        self.heard = bytearray(room_size)
        # The socket that sent it must not hear it.
        self.heard[sender] = 1


class Tally:
    """Called for every frame. Moments are ``perf_counter``'s; a place is a member's in the room, from 0.

    ``doubled`` counts what somebody heard twice or said themselves, ``disordered`` sequences that did not rise.
    """

    def __init__(self) -> None:
        self.sent = self.expected = self.acknowledged = self.delivered = 0
        self.doubled = self.disordered = 0
        self.refused: Counter[str] = Counter()
        self.lost: Counter[int] = Counter()
        self.to_ack = Histogram()
        self.to_receiver = Histogram()
        self.last_heard = 0.0
        self._under_way: dict[str, _UnderWay] = {}

    @property
    def under_way(self) -> int:
        """Messages that somebody still waits for."""
        return len(self._under_way)

    def say(self, id: str, sender: int, room_size: int, now: float) -> None:  # noqa: A002 - the frame's name
        """The member at that place sends a message to everybody else in the room."""
        self._under_way[id] = _UnderWay(sender, room_size, now)
        self.sent += 1
        self.expected += room_size - 1

    def acknowledge(self, id: str, now: float) -> None:  # noqa: A002 - the frame's name
        """Its sender knows that it is stored."""
        message = self._under_way.get(id)
        if message is None or message.acknowledged:
            self.doubled += 1
            return
        message.acknowledged = True
        self.acknowledged += 1
        self.to_ack.add(now - message.sent_at)
        self.last_heard = now
        if not message.left:
            del self._under_way[id]

    def deliver(self, id: str, receiver: int, now: float) -> None:  # noqa: A002 - the frame's name
        """The member at that place hears it."""
        message = self._under_way.get(id)
        if message is None or message.heard[receiver]:
            self.doubled += 1
            return
        message.heard[receiver] = 1
        message.left -= 1
        self.delivered += 1
        self.to_receiver.add(now - message.sent_at)
        self.last_heard = now
        if message.acknowledged and not message.left:
            del self._under_way[id]

    def refuse(self, id: str, slug: str) -> None:  # noqa: A002 - the frame's name
        """The server says no to it, or to another frame where there is no such id."""
        self.refused[slug] += 1
        self._under_way.pop(id, None)
