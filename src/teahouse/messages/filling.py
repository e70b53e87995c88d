"""Gaps are read from the store: what the bus lost is delivered all the same, in order."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from teahouse.messages.bus_texts import Passed
from teahouse.messages.channel import Channel
from teahouse.messages.frames import encode_message
from teahouse.messages.model import Message
from teahouse.messages.store import MessageStore
from teahouse.problems import Problem

PAGE = 200
# Two nodes may publish in another order than they stored: this long the missing one may still come by itself.
_GRACE_SECONDS = 0.03
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
# After a loss many channels have gaps at once; so many of them read at a time.
_READERS = 8
# A store that so often has nothing of what was announced never will.
_EMPTY_READS = 30

_log = logging.getLogger(__name__)


class Pause:
    """Between attempts: growing, up to a second, with jitter."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds = _FIRST_PAUSE

    async def wait(self) -> None:
        """Waits, the next time twice as long."""
        await asyncio.sleep(self._seconds * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret
        self._seconds = min(self._seconds * 2, _LONGEST_PAUSE)


class Filling:
    """One task per channel with a gap; ``deliver`` is called with what may be delivered, in order. ``origin`` knows the
    socket that sent a message from here.

    Where the store is away it is asked again, and what comes meanwhile waits.
    """

    def __init__(
        self,
        store: MessageStore,
        deliver: Callable[[Channel, Iterable[Passed]], None],
        origin: Callable[[str, int], str],
    ) -> None:
        self.filled = 0
        self._store = store
        self._deliver = deliver
        self._origin = origin
        self._readers = asyncio.Semaphore(_READERS)

    def look(self, channel: Channel) -> None:
        """Begins where something is missing and nobody is at it."""
        if channel.filling is None and channel.gap is not None:
            channel.filling = asyncio.get_running_loop().create_task(self._fill(channel), name="fill a gap")

    async def _fill(self, channel: Channel) -> None:
        pause, empty = Pause(), 0
        try:
            await asyncio.sleep(_GRACE_SECONDS)
            while (gap := channel.gap) is not None:
                page = await self._read(channel.conversation, gap)
                if page:
                    self._take(channel, page)
                    pause, empty = Pause(), 0
                    continue
                empty += page is not None
                if empty >= _EMPTY_READS:
                    _log.error("of %s the store does not have %d to %d", channel.conversation, *gap)
                    channel.give_up()
                    return
                await pause.wait()
        finally:
            channel.filling = None

    async def _read(self, conversation: str, gap: tuple[int, int]) -> list[Message] | None:
        first, last = gap
        try:
            async with self._readers:
                page = await self._store.after(conversation, first - 1, min(PAGE, last - first + 1))
        except Problem as problem:
            _log.warning("a gap in %s cannot be filled yet: %s", conversation, problem.detail)
            return None
        # A replica that is behind, or a page with a hole, is no better than none.
        return page if page and page[0].seq <= first else []

    def _take(self, channel: Channel, page: list[Message]) -> None:
        for message in page:
            if not channel.lacks(message.seq):
                continue
            self.filled += 1
            origin = self._origin(message.conversation, message.seq)
            passed = Passed(origin, message.conversation, message.seq, encode_message(message))
            self._deliver(channel, channel.arrive(message.seq, passed) or ())
