"""Who arrived on this node and who departed: the presence is told, and then all nodes that it may have changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from teahouse.messages.bus import Bus
from teahouse.messages.bus_texts import PresenceChanged, PresenceRestored, encode, presence_topic
from teahouse.messages.filling import Pause
from teahouse.messages.presence import Presence
from teahouse.messages.store import MessageStore
from teahouse.problems import Problem

# In so many of their conversations it is told that somebody came or went.
MOST_TOLD = 100
# Beyond so many people whose node died, all nodes look at everybody instead.
_MOST_LEFT_BEHIND = 50_000
# So many are asked about at once; a Redis answers them as one pipeline.
_TOGETHER = 200
_TEXTS_TOGETHER = 200
# A node that stops takes so long at most to tell who leaves with it.
_LAST_SECONDS = 3.0

_log = logging.getLogger(__name__)


class _Change(NamedTuple):
    online: bool
    conversations: Collection[str]


class Telling:
    """What is told is only that somebody's presence may have changed: whoever watches asks the presence, which knows.
    So nothing depends on the order in which texts of several nodes come.
    """

    def __init__(self, bus: Bus, store: MessageStore, presence: Presence) -> None:
        self._bus = bus
        self._store = store
        self._presence = presence
        # The last one of each person holds.
        self._changes: dict[str, _Change] = {}
        self._telling: asyncio.Task[None] | None = None
        self._left_behind: dict[str, None] = {}
        self._mourning: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def waiting(self) -> int:
        """People of whom it has not been told yet."""
        return len(self._changes)

    async def start(self) -> None:
        """Raises ``RedisUnavailable``."""
        self._presence.on_gone(self._gone)
        self._presence.on_restored(self.restored)
        await self._presence.start()

    async def aclose(self) -> None:
        """Whoever departed is told of, as far as that takes three seconds; the others are left to the other nodes."""
        self._closing = True
        tasks = [task for task in (self._telling, self._mourning) if task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_LAST_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if late:
                self.restored()
        await self._presence.aclose()

    def tell(self, user_id: str, conversations: Collection[str], *, online: bool) -> None:
        """They have arrived on this node, or departed from it."""
        self._changes.pop(user_id, None)
        self._changes[user_id] = _Change(online, conversations)
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell_all(), name="tell presence")

    def restored(self) -> None:
        """Anybody may have come or gone untold: all nodes ask again about everybody who is watched."""
        self._bus.publish(presence_topic(""), encode(PresenceRestored()))

    async def _tell_all(self) -> None:
        pause = Pause()
        try:
            while self._changes:
                people = list(self._changes)[:_TOGETHER]
                changes = {user_id: self._changes.pop(user_id) for user_id in people}
                results = await asyncio.gather(
                    *(self._note(user_id, change) for user_id, change in changes.items()), return_exceptions=True
                )
                told = zip(changes.items(), results, strict=True)
                await self._publish({user_id: change.conversations for (user_id, change), new in told if new is True})
                failures = [result for result in results if isinstance(result, BaseException)]
                if not failures:
                    pause = Pause()
                    continue
                # The presence makes up for it when Redis is back.
                _log.warning("it cannot be told now who is there: %s", failures[0])
                if not self._closing:
                    await pause.wait()
        finally:
            self._telling = None

    async def _note(self, user_id: str, change: _Change) -> bool:
        return await (self._presence.arrived(user_id) if change.online else self._presence.departed(user_id))

    async def _publish(self, changed: Mapping[str, Collection[str]]) -> None:
        texts = 0
        for user_id, conversations in changed.items():
            text = encode(PresenceChanged(user_id))
            for conversation in conversations:
                self._bus.publish(presence_topic(conversation), text)
            texts += len(conversations)
            if texts >= _TEXTS_TOGETHER:
                # Messages must find room beside them.
                texts = 0
                await self._bus.sent()

    # --- those whose node died ---

    def _gone(self, user_ids: Sequence[str]) -> None:
        if len(self._left_behind) + len(user_ids) > _MOST_LEFT_BEHIND:
            self.restored()
            return
        self._left_behind.update(dict.fromkeys(user_ids))
        if self._mourning is None:
            self._mourning = asyncio.get_running_loop().create_task(self._tell_gone(), name="tell who is gone")

    async def _tell_gone(self) -> None:
        try:
            while self._left_behind:
                gone = list(self._left_behind)[:_TOGETHER]
                found = await self._store.memberships(gone)
                for user_id in gone:
                    self._left_behind.pop(user_id, None)
                await self._publish(
                    {user_id: [row.conversation for row in rows[:MOST_TOLD]] for user_id, rows in found.items()}
                )
        except Problem as problem:
            _log.warning("it cannot be told who has gone with another node: %s", problem.detail)
            self._left_behind.clear()
            self.restored()
        finally:
            self._mourning = None
