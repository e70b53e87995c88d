"""What happens by itself: last use is written down, what is over is deleted, a little at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from teahouse.accounts.revocations import Revocations
from teahouse.accounts.sessions import Sessions
from teahouse.clock import Clock
from teahouse.problems import Problem

_log = logging.getLogger(__name__)

_EVERY_SECONDS = 60.0
_MOST_SWEEPS = 20
# Sessions stay for a while after their end, so that a client that comes back is told what happened.
KEEP_SECONDS = 24 * 3600.0

Sweep = Callable[[], Awaitable[int]]


class Housekeeping:
    """Runs once a minute; ``sweeps`` each delete some rows and tell how many."""

    def __init__(self, sessions: Sessions, revocations: Revocations, sweeps: Sequence[Sweep], *, clock: Clock) -> None:
        self._sessions = sessions
        self._revocations = revocations
        self._sweeps = (self._sweep_sessions, *sweeps)
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins; the first round is a minute away."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="accounts housekeeping")

    async def aclose(self) -> None:
        """Ends; a round under way is broken off."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None

    async def round(self) -> None:
        """Everything there is to do now."""
        self._revocations.forget(self._clock.now())
        await self._sessions.write_activity()
        for sweep in self._sweeps:
            for _ in range(_MOST_SWEEPS):
                if not await sweep():
                    break

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            try:
                await self.round()
            except Problem as problem:
                _log.warning("housekeeping of accounts waits for another minute: %s", problem.detail)
            except Exception:  # noqa: BLE001 — logged with its trace; the next round must come
                _log.exception("housekeeping of accounts failed; it is tried again in a minute")

    async def _sweep_sessions(self) -> int:
        return await self._sessions.sweep(keep_seconds=KEEP_SECONDS)
