"""People who talk over sockets and never give up: they come back, send again what was not acknowledged, and sync."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.journeys.people import Person
from tests.messages.raw_websocket import CLOSE, PING, PONG, RawSocket, encode

_AGAIN_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 0.4
_FORGOTTEN = 3
_ADDRESS = ("127.0.0.2", 0)

Said = tuple[str, str]
"""Whose message, and its id."""


class Gap(NamedTuple):
    """A frame that came before the one that is ``due``, with no sync under way."""

    at: float
    room: str
    seq: int
    due: int


class _Waiting:
    """A message that is not acknowledged yet."""

    __slots__ = ("room", "sent_at")

    def __init__(self, room: str) -> None:
        self.room = room
        self.sent_at = 0.0


class Chatter:
    """One person at one socket. ``had``: by room, the messages in sequence, the first one at seq 1.

    A frame with the next ``seq`` is taken and one below dropped; one above is a gap: it is counted, and the room is
    synced. The sender's own messages are known by their acknowledgements, and take their places when it is their turn.
    """

    def __init__(self, person: Person, ports: Sequence[int], rooms: Sequence[str], chance: random.Random) -> None:
        self.person = person
        self.had: dict[str, list[Said]] = {room: [] for room in rooms}
        self.acked: dict[str, tuple[str, int]] = {}
        self.waiting: dict[str, _Waiting] = {}
        self.gaps: list[Gap] = []
        self.strange: list[str] = []
        self.counts: Counter[str] = Counter()
        self.quiet = False
        # Since when, by room.
        self.syncing: dict[str, float] = {}
        self.slowest_sync = 0.0
        self._behind: set[str] = set()
        self._own: dict[str, dict[int, str]] = {room: {} for room in rooms}
        self._ports = ports
        self._chance = chance
        self._socket: RawSocket | None = None
        self._number = 0

    @property
    def welcomed(self) -> bool:
        """Whether there is a socket on which something can be said."""
        return self._socket is not None

    # --- one socket after the other ---

    async def comes_back(self) -> None:
        """A socket on whichever node is up, and another when it ends; until it is cancelled."""
        while True:
            try:
                await self._one_socket()
            except TimeoutError:
                self.strange.append("nothing came for ten seconds")
            except (OSError, asyncio.IncompleteReadError) as error:
                self.counts[f"socket: {type(error).__name__}"] += 1
            await asyncio.sleep(self._chance.uniform(0, _LONGEST_PAUSE_SECONDS))

    async def _one_socket(self) -> None:
        # From an address of their own: one of these connections must not take the port of a node that is down.
        streams = await asyncio.open_connection("127.0.0.1", self._chance.choice(self._ports), local_addr=_ADDRESS)
        socket = RawSocket(*streams)
        try:
            answer = await socket.upgrade(token=self.person.token)
            if answer.status != 101:
                self.counts[f"upgrade: {answer.status} {answer.problem}"] += 1
                return
            while (frame := await socket.frame()).opcode != CLOSE:
                if frame.opcode == PING:
                    socket.write(encode(PONG, frame.payload))
                else:
                    self._hear(socket, frame.json())
                socket.seen.clear()
            self.counts[f"closed: {frame.code}"] += 1
        finally:
            self._socket = None
            for room in list(self.syncing):
                self._sync_ends(room)
            socket.drop()

    def _hear(self, socket: RawSocket, frame: dict[str, Any]) -> None:
        kind = frame["type"]
        if kind == "text":
            self._take(frame["to"], frame["seq"], (frame["senderId"], frame["id"]))
        elif kind == "ack":
            self._acknowledged(frame["id"], frame["to"], frame["seq"])
        elif kind == "synced":
            self._synced(frame["to"], recovered=frame["recovered"])
        elif kind == "welcome":
            self.counts["welcomed"] += 1
            self._socket = socket
            self.sync()
            for name in self.waiting:
                self._send(name)
            # They may not have noted what was acknowledged last.
            for name in list(self.acked)[-_FORGOTTEN:]:
                self._say(name, self.acked[name][0])
        elif kind == "error":
            self._refused(frame)
        else:
            self.strange.append(f"{frame}")

    # --- what comes ---

    def _take(self, room: str, seq: int, message: Said) -> None:
        had = self.had[room]
        if seq <= len(had):
            self.counts["doubles"] += 1
            if had[seq - 1] != message:
                self.strange.append(f"{room} {seq} was {had[seq - 1]} and is {message}")
        elif seq == len(had) + 1:
            had.append(message)
            self._take_own(room)
        elif room in self.syncing:
            self.counts["early"] += 1
        else:
            self.gaps.append(Gap(time.monotonic(), room, seq, len(had) + 1))
            self.sync(room)

    def _take_own(self, room: str) -> None:
        had, own = self.had[room], self._own[room]
        while (name := own.pop(len(had) + 1, None)) is not None:
            had.append((self.person.id, name))

    def _acknowledged(self, id: str, room: str, seq: int) -> None:
        self.waiting.pop(id, None)
        if self.acked.setdefault(id, (room, seq)) != (room, seq):
            self.strange.append(f"{id} was acknowledged as {self.acked[id]} and as {room} {seq}")
        if seq > len(self.had[room]):
            self._own[room][seq] = id
            self._take_own(room)

    def _synced(self, room: str, *, recovered: bool) -> None:
        self._sync_ends(room)
        if not recovered:
            self.counts["not recovered"] += 1
            self._behind.add(room)

    def _sync_ends(self, room: str) -> None:
        self.slowest_sync = max(self.slowest_sync, time.monotonic() - self.syncing.pop(room))

    def _refused(self, frame: dict[str, Any]) -> None:
        self.counts[f"refused: {frame['problem']['type']}"] += 1
        if frame["problem"]["status"] != 503:
            self.strange.append(f"{frame}")
        room = frame.get("to")
        if room is not None:
            self._sync_ends(room)
            self._behind.add(room)

    # --- what is said ---

    async def talks(self, every: float) -> None:
        """Something new in one of the rooms now and then, unless ``quiet``; until it is cancelled."""
        while True:
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * every)
            if not self.quiet:
                self._number += 1
                name = f"{self.person.id[:8]}-{self._number}"
                self.waiting[name] = _Waiting(self._chance.choice(list(self.had)))
                self._send(name)
            before = time.monotonic() - _AGAIN_SECONDS
            for name, waiting in self.waiting.items():
                if waiting.sent_at < before:
                    self._send(name)
            if self._behind:
                behind, self._behind = self._behind, set()
                self.sync(*behind)

    def _send(self, id: str) -> None:
        if self._socket is not None:
            waiting = self.waiting[id]
            waiting.sent_at = time.monotonic()
            self._say(id, waiting.room)

    def _say(self, id: str, room: str) -> None:
        if self._socket is not None:
            self._socket.say(type="text", id=id, to=room, content={"said": id})

    def sync(self, *rooms: str) -> None:
        """Asks for what was missed in these rooms, or in all."""
        if self._socket is not None:
            wanted: Mapping[str, int] = {room: len(self.had[room]) for room in rooms or self.had}
            self.syncing |= dict.fromkeys(wanted, time.monotonic())
            self._socket.say(type="sync", after=wanted)


class Crowd:
    """Everybody who talks."""

    def __init__(self, chatters: Sequence[Chatter]) -> None:
        self.chatters = chatters
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, every: float) -> None:
        """Everybody comes, and says something every so many seconds."""
        for each in self.chatters:
            self._tasks += [asyncio.create_task(each.comes_back()), asyncio.create_task(each.talks(every))]

    async def stop(self) -> None:
        """Everybody goes."""
        for task in self._tasks:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended

    @property
    def acked(self) -> int:
        """How many messages were acknowledged so far."""
        return sum(len(each.acked) for each in self.chatters)

    @property
    def counts(self) -> Counter[str]:
        """What happened to all of them."""
        return sum((each.counts for each in self.chatters), Counter())

    async def until(self, is_so: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        """Looks again and again until it is so."""
        deadline = time.monotonic() + seconds
        while not is_so():
            failed = [task for task in self._tasks if task.done()]
            assert not failed, failed
            assert time.monotonic() < deadline, (what, self.counts, [each.strange for each in self.chatters])
            await asyncio.sleep(0.02)

    async def says(self, more: int, seconds: float = 30.0) -> None:
        """Returns when so many more messages are acknowledged."""
        wanted = self.acked + more
        await self.until(lambda: self.acked >= wanted, f"{more} more messages are acknowledged", seconds)

    async def lasts(self, seconds: float) -> None:
        """Goes on for so long."""
        over = time.monotonic() + seconds
        await self.until(lambda: time.monotonic() > over, "time passes", seconds + 10)
