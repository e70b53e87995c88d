"""In which order one conversation's messages are delivered here: pure state, no I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Generic, TypeVar

from teahouse.messages.bus_texts import Passed
from teahouse.messages.receiver import Receiver

Item = TypeVar("Item")

# What came early and is more than this is let go: it is in the store as well.
MOST_EARLY = 1_000


class Ordering(Generic[Item]):
    """Takes items by ``seq`` as they come, with gaps, doubles and in any order; gives them out by one, from the base.

    Until ``begin`` says what came before, everything is early. ``expected`` is the next ``seq`` to give out; 0 before
    the beginning.
    """

    __slots__ = ("_early", "expected", "known")

    def __init__(self) -> None:
        self.expected = 0
        # The highest seq of which it has been heard.
        self.known = 0
        self._early: dict[int, Item] | None = None

    @property
    def begun(self) -> bool:
        """Whether the base is known."""
        return self.expected > 0

    def begin(self, base: int) -> Sequence[Item]:
        """What is above ``base`` is to be given out, now or when it comes. Begun before, it is only ``told``."""
        if self.expected:
            self.told(base)
            return ()
        self.expected = base + 1
        if self._early is not None:
            self._early = {seq: item for seq, item in self._early.items() if seq > base} or None
        return self._run([])

    def told(self, seq: int) -> None:
        """So many are stored; where they have not come there is a gap."""
        self.known = max(self.known, seq)

    def lacks(self, seq: int) -> bool:
        """Whether it has neither been given out nor come early."""
        return seq >= self.expected and (self._early is None or seq not in self._early)

    def arrive(self, seq: int, item: Item) -> Sequence[Item] | None:
        """What is to be given out now, in order; None where this one had come before."""
        if seq == self.expected and self._early is None:
            self.expected = seq + 1
            return (item,)
        if not self.lacks(seq):
            return None
        if seq == self.expected:
            self.expected += 1
            return self._run([item])
        self.told(seq)
        self._keep(seq, item)
        return ()

    @property
    def gap(self) -> tuple[int, int] | None:
        """The first and the last ``seq`` that must be read from the store; None where nothing is missing."""
        if not 0 < self.expected <= self.known:
            return None
        return self.expected, self.known if self._early is None else min(self._early) - 1

    def give_up(self) -> None:
        """What is missing does not exist: forgets what was told and what came early."""
        self.known = self.expected - 1
        self._early = None

    def _keep(self, seq: int, item: Item) -> None:
        early = self._early
        if early is None:
            self._early = {seq: item}
            return
        if len(early) >= MOST_EARLY:
            highest = max(early)
            if seq > highest:
                return
            del early[highest]
        early[seq] = item

    def _run(self, items: list[Item]) -> list[Item]:
        early = self._early
        if early is not None:
            while (item := early.pop(self.expected, None)) is not None:
                items.append(item)
                self.expected += 1
            if not early:
                self._early = None
        return items


class Channel(Ordering[Passed]):
    """A conversation with receivers here. ``receivers``: the sockets in the room; None for a direct conversation,
    which is delivered to its two people.
    """

    __slots__ = ("conversation", "filling", "receivers")

    def __init__(self, conversation: str) -> None:
        super().__init__()
        self.conversation = conversation
        self.receivers: dict[Receiver, None] | None = {} if conversation.startswith("room:") else None
        self.filling: asyncio.Task[None] | None = None
