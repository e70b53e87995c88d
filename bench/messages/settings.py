"""What is played: how many people, in which rooms, at which pace."""

from collections.abc import Sequence
from dataclasses import dataclass

CONNECTIONS = 9_000


@dataclass(frozen=True, slots=True)
class Setting:
    """Rooms of one size; in each the first person speaks and the others hear. ``rate`` is messages a second in all."""

    name: str
    title: str
    rooms: int
    listeners: int
    rate: float
    warm_up_seconds: float = 2.0

    @property
    def people(self) -> int:
        """In all rooms together."""
        return self.rooms * (self.listeners + 1)

    def places(self) -> Sequence[range]:
        """Who is in which room."""
        size = self.listeners + 1
        return [range(start, start + size) for start in range(0, self.people, size)]


LARGE = Setting("large", "One room of 5,000 receivers", rooms=1, listeners=5_000, rate=5.0)
SMALL = Setting("small", "500 rooms of 10", rooms=500, listeners=9, rate=1_000.0)
HELD = Setting("held", f"{CONNECTIONS:,} connections in 900 rooms of 10", rooms=900, listeners=9, rate=1_000.0)
