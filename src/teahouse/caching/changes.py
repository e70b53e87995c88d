"""Which keys changed lately, and the telling of it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from teahouse.caching.shared import SharedLayer
from teahouse.problems import Problem

_RETRY_SECONDS = 0.25

_log = logging.getLogger(__name__)


class Changes:
    """The keys that changed within ``seconds``, or whose change could not be told yet: they are read from the primary.

    At most ``most`` of each. Beyond that *every* key counts as changed for ``seconds``; and the change that waits
    longest to be told is given up, with a line in the log.
    """

    def __init__(
        self, shared: SharedLayer[Any] | None, *, name: str, seconds: float, most: int, now: Callable[[], float]
    ) -> None:
        self._shared = shared
        self._name = name
        self._seconds = seconds
        self._most = most
        self._now = now
        self._until: dict[str, float] = {}
        self._all_until = 0.0
        self._untold: dict[str, None] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._retrying: asyncio.Task[None] | None = None

    @property
    def untold(self) -> int:
        """Changes that the other nodes have not been told."""
        return len(self._untold)

    def __contains__(self, key: str) -> bool:
        now = self._now()
        return now < self._all_until or now < self._until.get(key, 0.0) or key in self._untold

    def note(self, key: str) -> None:
        """The key changes about now."""
        now = self._now()
        if len(self._until) >= self._most:
            self._forget(now)
        # At the end, so that those at the front are over first.
        self._until.pop(key, None)
        self._until[key] = now + self._seconds

    def note_all(self) -> None:
        """Any key may have changed up to now."""
        self._until.clear()
        self._all_until = self._now() + self._seconds

    async def tell(self, key: str) -> None:
        """Tells the other nodes, now or as soon as that is possible. A caller who is cancelled does not stop it."""
        if self._shared is None:
            return
        telling = asyncio.get_running_loop().create_task(self._tell(self._shared, key), name=f"change {self._name}")
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)
        await asyncio.shield(telling)

    async def aclose(self) -> None:
        """Finishes the telling; what cannot be told now stays untold."""
        await asyncio.gather(*self._telling, return_exceptions=True)
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.gather(self._retrying, return_exceptions=True)
        if self._shared is not None:
            await self._tell_the_rest(self._shared)
        if self._untold:
            _log.warning("cache %s: %d changes could not be told to the other nodes", self._name, len(self._untold))

    def _forget(self, now: float) -> None:
        for key, until in list(self._until.items()):
            if until > now:
                break
            del self._until[key]
        if len(self._until) >= self._most:
            self.note_all()

    async def _tell(self, shared: SharedLayer[Any], key: str) -> None:
        try:
            await shared.change(key, self._seconds)
        except Problem as problem:
            self._keep(shared, key, problem)
        else:
            self._untold.pop(key, None)

    def _keep(self, shared: SharedLayer[Any], key: str, problem: Problem) -> None:
        if not self._untold:
            _log.warning("cache %s: a change cannot be told to the other nodes yet: %s", self._name, problem.detail)
        elif len(self._untold) >= self._most and key not in self._untold:
            oldest = next(iter(self._untold))
            del self._untold[oldest]
            _log.error("cache %s: too many changes wait to be told; given up: %s", self._name, oldest)
        self._untold[key] = None
        if self._retrying is None or self._retrying.done():
            self._retrying = asyncio.get_running_loop().create_task(
                self._retry(shared), name=f"tell changes {self._name}"
            )

    async def _retry(self, shared: SharedLayer[Any]) -> None:
        while self._untold:
            await asyncio.sleep(_RETRY_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
            await self._tell_the_rest(shared)

    async def _tell_the_rest(self, shared: SharedLayer[Any]) -> None:
        for key in list(self._untold):
            try:
                await shared.change(key, self._seconds)
            except Problem:
                # The next turn tries again.
                return
            self._untold.pop(key, None)
