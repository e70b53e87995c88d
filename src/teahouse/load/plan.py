"""What is to be played: pure rules, no I/O."""

from __future__ import annotations

from typing import NamedTuple

# Messages under way are kept until all have heard them: so many at most, and so many receivers of all of them together.
_MOST_UNDER_WAY = 200_000
_MOST_AWAITED = 50_000_000
_USUAL_RATE = 1000.0
# Half of what a server takes of one socket unless told otherwise.
_SOCKET_RATE = 50.0


class LoadFailed(Exception):
    """The load cannot be played; the message says why and what to do."""


class Plan(NamedTuple):
    """``rate`` is messages a second in all, times are in seconds. What was sent is awaited until nothing has come for
    ``patience``.
    """

    connections: int = 1000
    room_size: int = 10
    rate: float = _USUAL_RATE
    seconds: float = 30.0
    patience: float = 10.0

    def at_usual_rate(self) -> Plan:
        """With 1000 messages a second, or as many as the members of the smallest room may send, as rooms take turns."""
        rooms = self.rooms()
        return self._replace(rate=min(_USUAL_RATE, _SOCKET_RATE * len(rooms) * min(map(len, rooms))))

    @property
    def messages(self) -> int:
        """How many are to be sent."""
        return max(1, round(self.rate * self.seconds))

    @property
    def most_under_way(self) -> int:
        """Beyond so many messages that somebody has not heard, no more are sent: the server is far behind."""
        return max(1, min(_MOST_UNDER_WAY, _MOST_AWAITED // self.room_size))

    def rooms(self) -> list[range]:
        """Who is in which room, by number. Nobody is alone: the last room may be smaller, or larger by one."""
        starts = list(range(0, self.connections, self.room_size))
        if len(starts) > 1 and self.connections - starts[-1] == 1:
            starts.pop()
        ends = [*starts[1:], self.connections]
        return [range(start, end) for start, end in zip(starts, ends, strict=True)]
