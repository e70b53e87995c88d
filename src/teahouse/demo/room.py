"""The sale's room: everybody's line, what they say to each other, and what the shop says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from time import perf_counter

from teahouse.client import Address, OpenSockets, Refused, allow_descriptors, pauses, request
from teahouse.demo.api import ServerClock, Surprise
from teahouse.demo.buyer import Buyer
from teahouse.demo.ledger import Ledger
from teahouse.demo.line import Line, Wire
from teahouse.demo.operator import DemoFailed, Operator
from teahouse.demo.plan import MAX_CONNECTIONS, MAX_SOCKETS, spread

WAITING = ("Is it open yet?", "还有多久？", "My fingers are warm.", "这套盖碗我看了一周了", "First time here, hello!")
AFTERWARDS = ("Got one!", "没抢到……", "Anybody letting theirs go?", "付好了，等发货", "Next time I'll be quicker.")

_AT_ONCE = 100
_WELCOME_SECONDS = 10.0
_GOODBYE_SECONDS = 5.0
_LOOK_SECONDS = 0.02
# Everybody who waits asks when something is back: this often at most.
_ANNOUNCE_SECONDS = 0.5
# One's own mistakes, not allowed, and replaced by oneself: the next socket would end in the same way.
_FOR_GOOD = (1002, 1003, 1007, 1009, 4403, 4409)
_TOKEN_ENDED = 4401
_UNAUTHORIZED = 401
_OTHER_DESCRIPTORS = MAX_CONNECTIONS + 100


class Room:
    """``addresses`` are where sockets may be, tried in turn; where there is one, it is meant, and must take sockets."""

    def __init__(
        self, addresses: Sequence[Address], operator: Operator, clock: ServerClock, ledger: Ledger, *, must: bool
    ) -> None:
        self.lines: list[Line] = []
        self._addresses = addresses
        self._must = must
        self._operator = operator
        self._clock = clock
        self._ledger = ledger
        self._talk = ledger.talk
        self._id = ""
        self._names = count(1)
        self._turns = count()
        self._announced = 0.0
        self._open = OpenSockets()
        self._tls: ssl.SSLContext | None = None
        self._turns_to_connect = asyncio.Semaphore(_AT_ONCE)
        # Who has lost their socket, with its close code, and those of them who try to come back.
        self._away: dict[Line, int] = {}
        self._returning: set[asyncio.Task[None]] = set()

    def guests(self, present: list[Buyer]) -> list[Buyer]:
        """Who is to have a line: everybody, or as many as one process is meant to hold."""
        wanted = min(len(present), MAX_SOCKETS) if self._addresses else 0
        wanted = max(0, allow_descriptors(wanted + _OTHER_DESCRIPTORS) - _OTHER_DESCRIPTORS)
        return [present[index] for index in sorted(spread(len(present), wanted))]

    # --- coming in ----------------------------------------------------------------------------------------------------

    async def meet(self, guests: list[Buyer], arrived: Callable[[], None]) -> None:
        """Makes the room and connects its guests. Raises ``Surprise``, and ``DemoFailed`` where the one address that
        was named takes nobody.
        """
        self._talk.wanted = len(guests)
        if not guests:
            return
        self._id = await self._operator.open_room([guest.user_id for guest in guests])
        first, *others = guests
        address = await self._find(first)
        arrived()
        if address is None:
            return

        async def come(guest: Buyer) -> None:
            try:
                await self._connect(guest, address)
            except (Refused, OSError) as error:
                self._talk.absent = _why(error)
            arrived()

        async with asyncio.TaskGroup() as group:
            for guest in others:
                group.create_task(come(guest))
        self.lines = [guest.line for guest in guests if guest.line is not None]
        self._talk.sockets = len(self.lines)
        for place, line in enumerate(self.lines):
            line.place = place

    async def _find(self, guest: Buyer) -> Address | None:
        for address in self._addresses:
            self._tls = ssl.create_default_context() if address.secure else None
            try:
                await self._connect(guest, address)
            except (Refused, OSError) as error:
                self._talk.absent = f"{address.url}: {_why(error)}"
                continue
            self._talk.absent = ""
            return address
        if self._must:
            raise DemoFailed(f"There are no sockets at {self._talk.absent}. --realtime-url must be the realtime port.")
        return None

    async def _connect(self, guest: Buyer, address: Address) -> None:
        line = guest.line or Line(guest.number, self._id, ledger=self._ledger, now=self._clock.now)
        async with self._turns_to_connect:
            wire = Wire(line, request(address, guest.api.token), partial(self._over, guest, address, line))
            await self._open.connect(wire, address, self._tls, patience=_WELCOME_SECONDS)
        guest.line = line

    # --- coming back --------------------------------------------------------------------------------------------------

    def _over(self, guest: Buyer, address: Address, line: Line, wire: Wire, code: int) -> None:
        self._open.ended(wire)
        if self._open.leaving:
            return
        self._away[line] = code
        if code not in _FOR_GOOD:
            task = asyncio.get_running_loop().create_task(self._return(guest, address, line, code))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)

    async def _return(self, guest: Buyer, address: Address, line: Line, code: int) -> None:
        token_ended = code == _TOKEN_ENDED
        for pause in pauses():
            await asyncio.sleep(pause)
            try:
                if token_ended:
                    await guest.refresh()
                    token_ended = False
                await self._connect(guest, address)
            except Refused as refused:
                token_ended = refused.status == _UNAUTHORIZED or refused.code == _TOKEN_ENDED
            except (OSError, Surprise):
                continue
            else:
                self._talk.returned += 1
                # It may have been lost again meanwhile.
                if line.is_open:
                    self._away.pop(line, None)
                return

    # --- talking ------------------------------------------------------------------------------------------------------

    async def chat(self, words: Sequence[str], messages: int, seconds: float) -> None:
        """One guest after the other says something, so many messages evenly over that time."""
        began = perf_counter()
        for number in range(messages):
            await asyncio.sleep(max(0.0, began + seconds * number / messages - perf_counter()))
            self._say(words[number % len(words)])

    def _say(self, words: str) -> None:
        start = next(self._turns) % max(len(self.lines), 1)
        for line in [*self.lines[start:], *self.lines[:start]]:
            if line.is_open:
                name = f"m{next(self._names)}"
                self._talk.tally.say(name, line.place, len(self.lines), perf_counter())
                line.say(name, f'"{words}"'.encode())
                return

    async def welcome(self, words: str) -> None:
        """The shop says something. Raises ``Surprise``."""
        if self.lines:
            await self._tell("text", words)

    async def announce(self, back: int) -> None:
        """The shop says that so many items are back, where it has not just said so. Raises ``Surprise``."""
        now = perf_counter()
        if self._open and now - self._announced >= _ANNOUNCE_SECONDS:
            self._announced = now
            await self._tell("custom", {"back": back})

    async def _tell(self, kind: str, content: object) -> None:
        # The shop has no line: it hears nothing and speaks over HTTP.
        name, tally = f"shop-{next(self._names)}", self._talk.tally
        tally.say(name, len(self.lines), len(self.lines) + 1, perf_counter())
        self._talk.by_the_shop += 1
        try:
            seq = await self._operator.say(self._id, kind, name, content)
        except Surprise:
            tally.refuse(name, "not-answered")
            raise
        self._talk.acknowledge(name, seq, perf_counter())

    # --- going home ---------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Nobody need wait for news any more."""
        for line in self.lines:
            line.wake()

    async def hear_all(self, within: float) -> None:
        """Returns when everybody is back and has heard everything, or should have within so many seconds."""
        for _ in range(int(within / _LOOK_SECONDS)):
            if not self._returning and not (self._talk.tally.under_way and self._open):
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def leave(self) -> None:
        """Everybody says goodbye; who is not answered within a few seconds is cut off, who is away is lost."""
        self._open.leaving = True
        tasks = list(self._returning)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._talk.tally.lost.update(self._away.values())
        await self._open.leave(within=_GOODBYE_SECONDS)


def _why(error: Refused | OSError) -> str:
    return str(error) or f"no welcome within {_WELCOME_SECONDS:g} s"
