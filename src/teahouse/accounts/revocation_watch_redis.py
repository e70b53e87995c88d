"""Ends of sessions as the feed tells them, and Redis itself while the feed is not heard."""

from __future__ import annotations

from time import monotonic

from teahouse.accounts.session_scripts_redis import key
from teahouse.accounts.sessions import Sessions
from teahouse.engines.redis import Redis
from teahouse.engines.redis_feed import Feed

# The feed is current for 0.8 s after it last heard: with this much more an end is known everywhere within a second.
_TRUSTED_SECONDS = 0.05


class RevocationWatchRedis:
    """A ``RevocationWatch``. That the feed is current is believed for a moment: asking it costs as much as the rest of
    checking a known token.
    """

    __slots__ = ("_feed", "_redis", "_until")

    def __init__(self, redis: Redis, feed: Feed) -> None:
        self._redis = redis
        self._feed = feed
        self._until = 0.0

    @property
    def current(self) -> bool:
        """See ``RevocationWatch``."""
        now = monotonic()
        if now < self._until:
            return True
        if not self._feed.current:
            return False
        self._until = now + _TRUSTED_SECONDS
        return True

    async def has_ended(self, session_id: str) -> bool:
        """See ``RevocationWatch``."""
        user_id, ended_at = await self._redis.ask("HMGET", key(session_id), "user_id", "ended_at")
        return user_id is None or ended_at is not None

    def inform(self, sessions: Sessions) -> None:
        """From now on ``sessions`` hears of every end: as it is told, and after a gap what was told in it."""
        self._feed.on("session-ended", lambda text: sessions.heard(text.partition(" ")[0]))
        self._feed.on_catch_up(sessions.restore)
