"""What was sent and who heard it. Pure: bytes that were noted down in, counts and delays out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil
from typing import NamedTuple

from bench.failures import BenchFailed
from bench.messages.dialects import Event, Kind
from bench.messages.frames import TEXT, split

CONTENT_BYTES = 100
"""Of every message's content, the quotation marks included."""


Noted = tuple[float, int, bytes]
"""When bytes came (``perf_counter``), to the person at which place, and the bytes: whole frames.

No named tuple: making one of those takes as long as all the rest of a delivery's noting.
"""


class Heard(NamedTuple):
    """``delays`` in seconds, sorted, one for every delivery; ``frame_bytes`` of an average delivery on the wire."""

    delays: Sequence[float]
    missing: int
    doubled: int
    stray: int
    unacknowledged: int
    frame_bytes: float

    def quantile_ms(self, share: float) -> float:
        """Milliseconds that this share of the deliveries did not exceed."""
        return self.delays[max(0, ceil(len(self.delays) * share) - 1)] * 1e3


def content(number: int, now: float) -> bytes:
    """A message's content: its number, when it was sent, and padding. JSON."""
    return b'"%b"' % f"{number} {now:.6f} ".ljust(CONTENT_BYTES - 2, "x").encode()


class Books:
    """Messages ``numbers`` were sent, each by the speaker of room ``number % len(rooms)``; the speaker is the first of
    the room's places, all others must hear it once.
    """

    def __init__(self, numbers: range, rooms: Sequence[range]) -> None:
        self._numbers = numbers
        self._rooms = rooms
        self._heard = {number: bytearray(len(self._room(number))) for number in numbers}
        self._acknowledged = set[int]()
        self._delays: list[float] = []
        self._doubled = self._stray = self._bytes = 0

    def enter(self, notes: Iterable[Noted], read: Callable[[bytes], Iterator[Event]]) -> Heard:
        """Reads everything. Raises BenchFailed where a server said what it must not."""
        for at, place, data in notes:
            for first, payload in split(data)[0]:
                if first == TEXT:
                    for event in read(payload):
                        self._take(event, at, place, len(payload))
        return self._sum()

    def _room(self, number: int) -> range:
        return self._rooms[number % len(self._rooms)]

    def _take(self, event: Event, at: float, place: int, size: int) -> None:
        if event.kind is Kind.ACKNOWLEDGED:
            number = int(event.about)
            self._doubled += number in self._acknowledged
            self._acknowledged.add(number)
        elif event.kind is Kind.DELIVERED:
            number_text, sent, *_ = event.about.split(" ")
            self._deliver(int(number_text), float(sent), at, place)
            self._bytes += size

    def _deliver(self, number: int, sent: float, at: float, place: int) -> None:
        heard, room = self._heard.get(number), self._room(number)
        if heard is None or place not in room or place == room.start:
            self._stray += 1
        elif heard[place - room.start]:
            self._doubled += 1
        else:
            heard[place - room.start] = 1
            self._delays.append(at - sent)

    def _sum(self) -> Heard:
        self._delays.sort()
        expected = sum(len(heard) - 1 for heard in self._heard.values())
        delivered = len(self._delays)
        return Heard(
            self._delays,
            missing=expected - delivered,
            doubled=self._doubled,
            stray=self._stray,
            unacknowledged=len(set(self._numbers) - self._acknowledged),
            frame_bytes=self._bytes / delivered if delivered else 0.0,
        )


def require_all(name: str, heard: Heard) -> None:
    """Raises BenchFailed unless everybody heard everything once, and every message was acknowledged."""
    faults = {
        "deliveries are missing": heard.missing,
        "came twice": heard.doubled,
        "came to somebody whom they were not for": heard.stray,
        "messages were not acknowledged": heard.unacknowledged,
    }
    found = [f"{count:,} {what}" for what, count in faults.items() if count]
    if found or not heard.delays:
        raise BenchFailed(f"{name}: {', '.join(found) or 'nothing was delivered'}")
