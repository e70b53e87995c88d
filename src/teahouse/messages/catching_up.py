"""What a socket missed is read to it from the store, and what comes meanwhile follows: no gap, no double."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from teahouse.messages.bus import Bus
from teahouse.messages.bus_texts import Passed
from teahouse.messages.filling import PAGE, Pause
from teahouse.messages.following import Following
from teahouse.messages.frames import encode_message
from teahouse.messages.receiver import Receiver
from teahouse.messages.store import MessageStore
from teahouse.problems import Problem

# What is held back beyond this is let go, and read from the store instead.
MOST_HELD = 10_000
MOST_HELD_BYTES = 256 * 1024
# So much is sent before it is asked whether the socket keeps up.
_BURST_BYTES = 64 * 1024
# To somebody who has joined a conversation so much is sent of what was said since.
_MOST_BROUGHT = 1_000
# So many pages are read at a time, however many sync at once; whoever wants the same page shares it.
_READERS = 16
# A replica that is behind is asked so often.
_EMPTY_READS = 5

_log = logging.getLogger(__name__)


class Hold:
    """Live messages of one conversation that wait for one socket. They come by one, from ``first``."""

    __slots__ = ("first", "frames", "released", "size")

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.first = self.size = 0
        self.frames: list[bytes | None] = []

    def add(self, seq: int, frame: bytes | None) -> None:
        """Nothing is held of one that the socket sent itself, but its place is."""
        if len(self.frames) >= MOST_HELD or self.size >= MOST_HELD_BYTES:
            self.frames.clear()
            self.size = 0
        if not self.frames:
            self.first = seq
        self.frames.append(frame)
        self.size += 0 if frame is None else len(frame)


class _Frame(NamedTuple):
    """A message as it is sent."""

    seq: int
    frame: bytes


class Replay(NamedTuple):
    """One sync: who asked, of which conversation, and what is held back for them meanwhile. ``brought``: nobody asked,
    so what the socket itself has sent is left out, as it is of live messages.
    """

    receiver: Receiver
    conversation: str
    hold: Hold
    brought: bool = False


class CatchingUp:
    """Syncs. ``holds``: by conversation, for whom live messages are held back now. ``sent_by`` says whether a socket
    has sent the message with a ``seq``, as far as is known.
    """

    def __init__(
        self, store: MessageStore, bus: Bus, following: Following, sent_by: Callable[[Receiver, str, int], bool]
    ) -> None:
        self.holds: dict[str, dict[Receiver, Hold]] = {}
        self._store = store
        self._bus = bus
        self._pages: dict[tuple[str, int], asyncio.Task[list[_Frame]]] = {}
        self._following = following
        self._sent_by = sent_by
        self._bringing: set[asyncio.Task[None]] = set()
        self._readers = asyncio.Semaphore(_READERS)

    async def aclose(self) -> None:
        """Brings and reads nothing more."""
        tasks = [*self._bringing, *self._pages.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def catch_up(self, receiver: Receiver, conversation: str, after: int, most: int) -> bool:
        """See ``Hub.catch_up``."""
        while (hold := self._held(receiver, conversation)) is not None:
            await hold.released.wait()
        replay = self._hold(receiver, conversation)
        try:
            if not await self._following.attend(receiver.user_id, conversation):
                return False
            return await self._replay(replay, after, most)
        finally:
            self._release(replay)

    def bring(self, receiver: Receiver, conversation: str, after: int) -> None:
        """Sends what was stored above ``after`` without having been asked; live messages wait from now on."""
        # One that syncs by itself gets it already.
        if self._held(receiver, conversation) is None:
            replay = self._hold(receiver, conversation, brought=True)
            task = asyncio.get_running_loop().create_task(self._bring(replay, after), name="bring what was missed")
            self._bringing.add(task)
            task.add_done_callback(self._bringing.discard)

    def hold_back(self, passed: Passed, receivers: Iterable[Receiver], origin: Receiver | None) -> list[Receiver]:
        """Keeps a live message for those who are catching up; gives the others."""
        holds = self.holds.get(passed.conversation)
        if holds is None:
            return list(receivers)
        others = []
        for receiver in receivers:
            hold = holds.get(receiver)
            if hold is None:
                others.append(receiver)
            else:
                hold.add(passed.seq, None if receiver is origin else passed.frame)
        return others

    def _held(self, receiver: Receiver, conversation: str) -> Hold | None:
        holds = self.holds.get(conversation)
        return None if holds is None else holds.get(receiver)

    def _hold(self, receiver: Receiver, conversation: str, *, brought: bool = False) -> Replay:
        replay = Replay(receiver, conversation, Hold(), brought)
        self.holds.setdefault(conversation, {})[receiver] = replay.hold
        return replay

    def _release(self, replay: Replay) -> None:
        holds = self.holds[replay.conversation]
        del holds[replay.receiver]
        if not holds:
            del self.holds[replay.conversation]
        for frame in replay.hold.frames:
            if frame is not None:
                replay.receiver.send(frame)
        replay.hold.released.set()

    async def _bring(self, replay: Replay, after: int) -> None:
        pause = Pause()
        try:
            while self._following.reaches(replay.receiver, replay.conversation):
                try:
                    await self._replay(replay, after, _MOST_BROUGHT)
                    return
                except Problem as problem:
                    _log.warning("what was said since somebody joined cannot be read yet: %s", problem.detail)
                    await pause.wait()
        finally:
            self._release(replay)

    async def _replay(self, replay: Replay, after: int, most: int) -> bool:
        last = await self._last(replay.conversation)
        if after > last:
            # Ahead of what this node has delivered, or of all that is stored: a database that was put back.
            last = (await self._store.last_seqs((replay.conversation,))).get(replay.conversation, 0)
        if not last - most <= after <= last:
            return False
        position, pause, empty = after, Pause(), 0
        while position < self._due(replay, last):
            page = await self._page(replay.conversation, position)
            moved = await self._send(replay, page, position, last)
            if moved is None:
                return False
            if moved == position:
                empty += 1
                if empty >= _EMPTY_READS:
                    return False
                await pause.wait()
            position = moved
        channel = self._following.channels.get(replay.conversation)
        if channel is not None and not channel.begun:
            # Otherwise what is stored before its base is read would reach this socket neither way.
            self._following.begin(channel, last)
        return True

    async def _last(self, conversation: str) -> int:
        """How far the conversation is. The channel knows, unless the bus may have kept something from it."""
        channel = self._following.channels.get(conversation)
        if channel is not None and channel.begun and self._bus.current:
            return channel.expected - 1
        last = (await self._store.last_seqs((conversation,))).get(conversation, 0)
        if channel is not None and channel.begun:
            self._following.told(channel, last)
        return last

    async def _send(self, replay: Replay, page: Sequence[_Frame], position: int, last: int) -> int | None:
        """Sends what does not come live, as fast as the socket takes it. Gives the new position; None where something
        is missing in between, or the socket has gone.
        """
        due, unsent = self._due(replay, last), 0
        if not self._following.reaches(replay.receiver, replay.conversation):
            return None
        for seq, frame in page:
            if seq > due:
                break
            if seq != position + 1:
                return None
            position = seq
            if replay.brought and self._sent_by(replay.receiver, replay.conversation, seq):
                continue
            replay.receiver.send(frame)
            unsent += len(frame)
            if unsent >= _BURST_BYTES:
                unsent = 0
                await replay.receiver.drained()
                if not self._following.reaches(replay.receiver, replay.conversation):
                    return None
        return position

    async def _page(self, conversation: str, position: int) -> list[_Frame]:
        key = conversation, position
        reading = self._pages.get(key)
        if reading is None:
            reading = asyncio.get_running_loop().create_task(self._read(key), name="read what was missed")
            self._pages[key] = reading
            reading.add_done_callback(lambda _done: self._pages.pop(key, None))
        try:
            return await asyncio.shield(reading)
        except Problem as problem:
            # Each gets an exception of its own: a shared one would gather every reader's traceback.
            raise type(problem)(problem.detail) from problem

    async def _read(self, key: tuple[str, int]) -> list[_Frame]:
        async with self._readers:
            page = await self._store.after(*key, PAGE)
        return [_Frame(message.seq, encode_message(message)) for message in page]

    def _due(self, replay: Replay, last: int) -> int:
        """Up to which ``seq`` it must be read: what is above comes live, or is held."""
        if replay.hold.frames:
            return replay.hold.first - 1
        channel = self._following.channels.get(replay.conversation)
        return channel.expected - 1 if channel is not None and channel.begun else last
