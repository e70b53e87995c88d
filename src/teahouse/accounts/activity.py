"""When sessions were last used, gathered in memory and written together."""

from __future__ import annotations

_MOST = 100_000


class Activity:
    """Session ids and the Unix second of their latest use since the last ``take``.

    Bounded: past ``most`` sessions a further one is not noted until the next ``take``; it then counts as used when
    its token was issued.
    """

    __slots__ = ("_most", "_seen")

    def __init__(self, *, most: int = _MOST) -> None:
        self._most = most
        self._seen: dict[str, float] = {}

    def note(self, session_id: str, now: float) -> None:
        """The session was used ``now``."""
        seen = self._seen
        if session_id in seen or len(seen) < self._most:
            seen[session_id] = now

    def latest_ms(self, session_id: str) -> int:
        """The latest use that has not been written, in Unix milliseconds; 0 where there is none."""
        return int(self._seen.get(session_id, 0.0) * 1000)

    def take(self) -> dict[str, float]:
        """Everything noted, to be written; notes begin anew."""
        seen, self._seen = self._seen, {}
        return seen

    def put_back(self, unwritten: dict[str, float]) -> None:
        """What could not be written waits for the next time; newer notes win."""
        for session_id, at in unwritten.items():
            if session_id not in self._seen:
                self.note(session_id, at)
