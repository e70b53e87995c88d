"""Sessions that ended while an access token of theirs could still be good."""

from __future__ import annotations

from collections.abc import Mapping

_MOST = 200_000


class Revocations:
    """Ended sessions by id, each kept until its longest-lived access token has run out.

    Bounded: when more than ``most`` sessions end within one token's life, the oldest entries are forgotten and every
    token issued until then is refused instead (``not_before``); its client refreshes, and nobody ended gets in.
    """

    __slots__ = ("_keep_seconds", "_most", "changes", "ended", "not_before")

    def __init__(self, keep_seconds: float, *, most: int = _MOST) -> None:
        self._keep_seconds = keep_seconds
        self._most = most
        # Read on every request: a plain dict from session id to the Unix second of its end, oldest first.
        self.ended: dict[str, float] = {}
        self.not_before = 0
        # Rises whenever somebody's tokens may have become bad.
        self.changes = 0

    def add(self, session_id: str, at: float) -> None:
        """The session ended ``at`` Unix seconds."""
        self.changes += 1
        self.ended.pop(session_id, None)
        self.ended[session_id] = at
        while len(self.ended) > self._most:
            self.not_before = max(self.not_before, int(self._forget_oldest()) + 1)

    def refuse_before(self, moment: float) -> None:
        """Tokens issued before that Unix second are refused: what had ended by then is not known."""
        self.changes += 1
        self.not_before = max(self.not_before, int(moment))

    def restore(self, ended: Mapping[str, float]) -> None:
        """What was ended before this node started."""
        for session_id, at in sorted(ended.items(), key=lambda entry: entry[1]):
            self.add(session_id, at)

    def forget(self, now: float) -> None:
        """Drops what no living token can belong to."""
        while self.ended and next(iter(self.ended.values())) + self._keep_seconds < now:
            self._forget_oldest()

    def _forget_oldest(self) -> float:
        return self.ended.pop(next(iter(self.ended)))
