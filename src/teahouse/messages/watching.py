"""Those who look at a conversation hear who of it comes and goes."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from teahouse.messages.bus import Bus
from teahouse.messages.bus_texts import PresenceChanged, encode, presence_topic
from teahouse.messages.filling import Pause
from teahouse.messages.frames import encode_presence
from teahouse.messages.presence import Presence
from teahouse.messages.receiver import Receiver
from teahouse.messages.store import MessageStore
from teahouse.problems import Problem

# In so many of their conversations it is told that somebody came or went.
MOST_TOLD = 100
MOST_WATCHED = 100
# Beyond this many comings and goings that wait to be told, the oldest is not told to those who watch.
_MOST_WAITING = 50_000
# So many are asked about at once; a Redis answers them as one pipeline.
_TOGETHER = 200
_TEXTS_TOGETHER = 200

_log = logging.getLogger(__name__)


class _Change(NamedTuple):
    user_id: str
    online: bool
    conversations: Collection[str]


class Watching:
    """Tells the presence, and those who watch on all nodes, who arrived here and who departed."""

    def __init__(self, bus: Bus, store: MessageStore, presence: Presence | None) -> None:
        self._bus = bus
        self._store = store
        self._presence = presence
        self._watchers: dict[str, dict[Receiver, None]] = {}
        self._watched: dict[Receiver, set[str]] = {}
        self._changes: deque[_Change] = deque(maxlen=_MOST_WAITING)
        self._telling: asyncio.Task[None] | None = None
        self._left_behind: deque[str] = deque(maxlen=_MOST_WAITING)
        self._mourning: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises ``RedisUnavailable``."""
        if self._presence is not None:
            self._presence.on_gone(self._gone)
            await self._presence.start()

    async def aclose(self) -> None:
        """Tells nothing more."""
        tasks = [task for task in (self._telling, self._mourning) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._presence is not None:
            await self._presence.aclose()

    # --- watching ---

    async def watch(self, receiver: Receiver, conversation: str) -> None:
        """See ``Hub.watch``."""
        watched = self._watched.setdefault(receiver, set())
        if conversation in watched or len(watched) >= MOST_WATCHED:
            return
        watched.add(conversation)
        self._watchers.setdefault(conversation, {})[receiver] = None
        await self._bus.subscribe((presence_topic(conversation),))

    def forget(self, receiver: Receiver) -> None:
        """It watches nothing any more."""
        for conversation in self._watched.pop(receiver, ()):
            watchers = self._watchers[conversation]
            del watchers[receiver]
            if not watchers:
                del self._watchers[conversation]
                self._bus.unsubscribe((presence_topic(conversation),))

    def deliver(self, topic: str, changed: PresenceChanged, reaches: Callable[[Receiver, str], bool]) -> None:
        """To everybody here who watches and is still in the conversation, but the person themselves."""
        conversation = topic.partition(":")[2]
        for receiver in tuple(self._watchers.get(conversation, ())):
            if receiver.user_id != changed.user_id and reaches(receiver, conversation):
                receiver.send(changed.frame)

    # --- telling ---

    def tell(self, user_id: str, conversations: Collection[str], *, online: bool) -> None:
        """They have arrived on this node, or departed from it."""
        if self._presence is None:
            return
        self._changes.append(_Change(user_id, online, conversations))
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell_all(), name="tell presence")

    async def _tell_all(self) -> None:
        pause = Pause()
        try:
            while self._changes:
                changes = [self._changes.popleft() for _ in range(min(_TOGETHER, len(self._changes)))]
                # In order for each person: the last one holds.
                results = await asyncio.gather(*map(self._note, changes), return_exceptions=True)
                await self._publish([change for change, told in zip(changes, results, strict=True) if told is True])
                if any(isinstance(told, Exception) for told in results):
                    await pause.wait()
                else:
                    pause = Pause()
        finally:
            self._telling = None

    async def _note(self, change: _Change) -> bool:
        assert self._presence is not None
        try:
            if change.online:
                return await self._presence.arrived(change.user_id)
            return await self._presence.departed(change.user_id)
        except Problem as problem:
            _log.warning("it cannot be told now who is there: %s", problem.detail)
            raise

    async def _publish(self, changes: Sequence[_Change]) -> None:
        texts = 0
        for change in changes:
            for conversation in change.conversations:
                # Of a direct conversation only the other one watches, who calls it by the name of this one.
                to = conversation if conversation.startswith("room:") else f"user:{change.user_id}"
                frame = encode_presence(to, change.user_id, change.online)
                self._bus.publish(presence_topic(conversation), encode(PresenceChanged(change.user_id, frame)))
            texts += len(change.conversations)
            if texts >= _TEXTS_TOGETHER:
                # Messages must find room beside them.
                texts = 0
                await self._bus.sent()

    # --- those whose node died ---

    def _gone(self, user_ids: Sequence[str]) -> None:
        self._left_behind.extend(user_ids)
        if self._mourning is None:
            self._mourning = asyncio.get_running_loop().create_task(self._tell_gone(), name="tell who is gone")

    async def _tell_gone(self) -> None:
        try:
            while self._left_behind:
                gone = [self._left_behind.popleft() for _ in range(min(_TOGETHER, len(self._left_behind)))]
                found = await self._store.memberships(gone)
                await self._publish(
                    [
                        _Change(user_id, online=False, conversations=[row.conversation for row in rows[:MOST_TOLD]])
                        for user_id, rows in found.items()
                    ]
                )
        except Problem as problem:
            _log.warning("it cannot be told who has gone with another node: %s", problem.detail)
            self._left_behind.clear()
        finally:
            self._mourning = None
