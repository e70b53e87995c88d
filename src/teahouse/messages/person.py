"""Somebody who has sockets on this worker."""

from __future__ import annotations

import asyncio

from teahouse.messages.channel import Channel
from teahouse.messages.model import Extent
from teahouse.messages.receiver import Receiver


class Person:
    """Somebody with a socket here. ``ready``: what they take part in is known, and followed."""

    __slots__ = ("again", "asked", "channels", "count", "gone", "id", "loading", "ready", "sockets", "whole")

    def __init__(self, user_id: str) -> None:
        self.id = user_id
        self.sockets: tuple[Receiver, ...] = ()
        self.channels: list[Channel] = []
        self.ready = False
        # Whether all their conversations are followed, and not only the first so many of ``count``.
        self.whole = True
        self.count = 0
        self.loading: asyncio.Task[None] | None = None
        self.again = False
        # What they left while their memberships were being read.
        self.gone: set[str] | None = None
        # What is followed for them beyond the first so many, because they asked for it.
        self.asked: set[str] | None = None

    @property
    def extent(self) -> Extent:
        """How much of what they take part in is followed."""
        following = len(self.channels)
        return Extent(following, following if self.whole else max(self.count, following))
