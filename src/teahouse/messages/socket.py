"""What one client may do over its socket: frames in, answers out, at its pace and in its order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple, Protocol

from teahouse.accounts import Caller
from teahouse.messages.assembling import WireLimits
from teahouse.messages.close_codes import TOKEN_ENDED, TOO_FAST
from teahouse.messages.frames import (
    KINDS,
    PONG,
    Inbound,
    Ping,
    Presence,
    Read,
    Said,
    Sync,
    decode,
    encode_ack,
    encode_error,
    encode_pong,
    encode_presence,
    encode_synced,
    encode_system,
    id_in,
)
from teahouse.messages.model import Kind, Message
from teahouse.messages.outbox import Outbox
from teahouse.messages.websocket import WebSocket
from teahouse.problems import InternalError, Problem, ShuttingDown, TooManyFrames

_log = logging.getLogger(__name__)


_MAX_UNDER_WAY = 64
# Of a frame, at the pace. A large message may come in sixteen; one in a hundred crumbs is there to keep the node busy.
_FRAGMENT_COST = 0.125


class Pace(NamedTuple):
    """How many frames a second a client may send, and how many at once after a silence."""

    frames_per_second: float = 20.0
    burst: int = 60


class Messaging(Protocol):
    """What sockets ask for. Each raises ``Problem``, at once or when awaited."""

    def send(
        self,
        caller_id: str,
        *,
        kind: Kind,
        id: str,  # noqa: A002 - the frame's name
        to: str,
        content: str,
        origin: str,
    ) -> Awaitable[Message]:
        """Stores the message, then tells it to whoever is there but the socket ``origin``."""
        ...

    async def sync(self, receiver: ClientSocket, to: str, after: int) -> bool:
        """Sends the socket what it missed; False where that is too much."""
        ...

    async def mark_read(self, caller_id: str, to: str, seq: int) -> object:
        """The caller has read up to ``seq``."""
        ...

    async def presence(self, receiver: ClientSocket, to: str) -> Collection[str]:
        """Who of the conversation is there; the socket is told from now on who comes and goes."""
        ...


class Shared(Protocol):
    """What all sockets of a gateway have in common. ``tick`` rises once a second."""

    tick: int
    messaging: Messaging
    outbox: Outbox
    limits: WireLimits
    pace: Pace
    now: Callable[[], float]

    def arrived(self, socket: ClientSocket) -> None:
        """A connection has come."""
        ...

    def asked(self, socket: ClientSocket, head: bytes | None) -> None:
        """It asks for the upgrade, with a head that is None where it was too large."""
        ...

    def closing(self, code: int) -> None:
        """A socket is closed from here, or its close is answered."""
        ...

    def leaving(self, socket: ClientSocket) -> None:
        """Nothing is sent or received any more."""
        ...

    def gone(self, socket: ClientSocket) -> None:
        """The connection has ended."""
        ...


class ClientSocket(WebSocket):
    """A client's socket, and a ``Receiver`` of the hub; ``caller`` is None until the upgrade is accepted.

    At most 64 operations are under way: beyond that, and before ``begin``, frames are kept and no more is read. What is
    kept came in one read, and within the pace, which counts frames as they come. ``heard`` is the tick of the last sign
    of life.
    """

    __slots__ = (
        "_asked",
        "_asking",
        "_kept",
        "_paced",
        "_retiring",
        "_said",
        "_shared",
        "_under_way",
        "begun",
        "caller",
        "heard",
        "id",
        "pinged",
        "user_id",
    )

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared.outbox, shared.limits, corked=True)
        self.id = self.user_id = ""
        self.caller: Caller | None = None
        self.begun = False
        self.heard = shared.tick
        self.pinged = False
        self._shared = shared
        # GCRA: when the frames so far would have come at the permitted rate.
        self._paced = 0.0
        self._under_way = 0
        self._kept: deque[str] | None = None
        self._said: deque[tuple[asyncio.Future[Message], Said]] | None = None
        self._asked: deque[Sync | Read | Presence] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._retiring: tuple[int, str] | None = None

    # --- life ---------------------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """See ``WebSocket``."""
        self._shared.arrived(self)

    def asked(self, head: bytes | None) -> None:
        """See ``WebSocket``."""
        self._shared.asked(self, head)

    def admit(self, id: str, caller: Caller, answer: bytes) -> None:  # noqa: A002 - the hub's word
        """Accepts the upgrade; frames are kept until ``begin``."""
        self.id, self.caller, self.user_id = id, caller, caller.user_id
        self.heard = self._shared.tick
        self.accept(answer)

    def begin(self, welcome: bytes) -> None:
        """Welcomes the client and takes what it sent meanwhile."""
        self.begun = True
        self.uncork(welcome)
        self._take_kept()

    def log_out(self, event: str) -> None:
        """Tells the client why, and closes."""
        if self.begun:
            self.send(encode_system(event, {}))
        self.close(TOKEN_ENDED, event)

    def close(self, code: int, reason: str = "") -> None:
        """See ``WebSocket``."""
        if not self.ends_at:
            self._shared.closing(code)
        super().close(code, reason)

    def retire(self, code: int, reason: str) -> None:
        """Closes as soon as nothing is under way; takes no further frame."""
        if not self._under_way:
            self.close(code, reason)
        elif self._retiring is None:
            self._retiring = code, reason
            self._pause()

    @property
    def is_paused(self) -> bool:
        """Nothing is read from the client, so that nothing can be heard."""
        return self._kept is not None or self._retiring is not None

    def ending(self) -> None:
        """See ``WebSocket``."""
        # What was asked is finished, but for what has not begun.
        self._kept = self._asked = None
        self._shared.leaving(self)

    def ended(self) -> None:
        """See ``WebSocket``."""
        self._shared.gone(self)

    # --- frames -------------------------------------------------------------------------------------------------------

    def received(self, text: str) -> None:
        """See ``WebSocket``."""
        self.heard = self._shared.tick
        if not self._keeps_pace():
            if not self.ends_at:
                self.send(encode_error(TooManyFrames(), id_in(text)))
        elif self._is_busy() or self._kept:
            self._keep(text)
        else:
            self._take(text)

    def heard_control(self) -> bool:
        """See ``WebSocket``."""
        self.heard = self._shared.tick
        return self._keeps_pace()

    def heard_fragment(self) -> None:
        """See ``WebSocket``."""
        self._keeps_pace(_FRAGMENT_COST)

    def _keeps_pace(self, cost: float = 1.0) -> bool:
        rate, burst = self._shared.pace
        now = self._shared.now()
        self._paced = max(self._paced, now) + cost / rate
        ahead = (self._paced - now) * rate
        # A refused frame counts as well, so that who does not listen is closed after another burst.
        if ahead > 2 * burst:
            self.close(TOO_FAST, "too fast")
        return ahead <= burst

    def _is_busy(self) -> bool:
        return not self.begun or self._under_way >= _MAX_UNDER_WAY or self._retiring is not None

    def _keep(self, text: str) -> None:
        if self._kept is None:
            self._kept = deque()
            self._pause()
        self._kept.append(text)

    def _pause(self) -> None:
        if self._wire is not None and not self._wire.is_closing():
            self._wire.pause_reading()

    def _take_kept(self) -> None:
        while self._kept and not self._is_busy() and not self.ends_at:
            self._take(self._kept.popleft())
        if self._kept is not None and not self._kept:
            self._kept = None
            if self._wire is not None and not self._wire.is_closing():
                self._wire.resume_reading()

    def _take(self, text: str) -> None:
        try:
            frame = decode(text)
        except Problem as problem:
            self.send(encode_error(problem, id_in(text)))
            return
        self._carry_out(frame)

    def _carry_out(self, frame: Inbound) -> None:
        if isinstance(frame, Said):
            self._say(frame)
        elif isinstance(frame, Ping):
            self.send(PONG if frame.id is None else encode_pong(frame.id))
        else:
            self._ask(frame)

    # --- messages: acknowledged in the order in which they came -------------------------------------------------------

    def _say(self, frame: Said) -> None:
        self._under_way += 1
        if self._said is None:
            self._said = deque()
        coming = self._stored(frame)
        self._said.append((coming, frame))
        coming.add_done_callback(self._acknowledge)

    def _stored(self, frame: Said) -> asyncio.Future[Message]:
        loop = asyncio.get_running_loop()
        try:
            coming = self._shared.messaging.send(
                self.user_id,
                kind=KINDS[type(frame)],
                id=frame.id,
                to=frame.to,
                content=bytes(frame.content).decode(),
                origin=self.id,
            )
        except Exception as error:  # noqa: BLE001 - answered like one that comes later
            refused: asyncio.Future[Message] = loop.create_future()
            refused.set_exception(error)
            return refused
        return asyncio.ensure_future(coming)

    def _acknowledge(self, _coming: asyncio.Future[Message]) -> None:
        said = self._said
        while said and said[0][0].done():
            coming, frame = said.popleft()
            self._under_way -= 1
            self.send(_answer(coming, frame))
        self._go_on()

    # --- the rest: one after the other --------------------------------------------------------------------------------

    def _ask(self, frame: Sync | Read | Presence) -> None:
        self._under_way += 1
        if self._asked is None:
            self._asked = deque()
        self._asked.append(frame)
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._answer_all())

    async def _answer_all(self) -> None:
        try:
            while self._asked:
                frame = self._asked.popleft()
                await self._answer(frame)
                self._under_way -= 1
                self._go_on()
        finally:
            self._asking = None

    async def _answer(self, frame: Sync | Read | Presence) -> None:
        try:
            if isinstance(frame, Sync):
                await self._sync(frame)
            elif isinstance(frame, Read):
                await self._shared.messaging.mark_read(self.user_id, frame.to, frame.seq)
            else:
                for user_id in await self._shared.messaging.presence(self, frame.to):
                    self.send(encode_presence(frame.to, user_id, online=True))
                await self.drained()
        except Problem as problem:
            self.send(encode_error(problem, frame.id, _place(frame)))
        except Exception:  # noqa: BLE001 - logged and answered; the socket goes on
            _log.exception("a frame could not be answered")
            self.send(encode_error(InternalError(), frame.id, _place(frame)))

    async def _sync(self, frame: Sync) -> None:
        for to, after in frame.after.items():
            if self.ends_at:
                return
            try:
                recovered = await self._shared.messaging.sync(self, to, after)
            except Problem as problem:
                self.send(encode_error(problem, frame.id, to))
            else:
                self.send(encode_synced(to, recovered))
            await self.drained()

    def _go_on(self) -> None:
        if self._retiring is None:
            self._take_kept()
        elif not self._under_way:
            self.close(*self._retiring)


def _place(frame: Sync | Read | Presence) -> str | None:
    return None if isinstance(frame, Sync) else frame.to


def _answer(coming: asyncio.Future[Message], frame: Said) -> bytes:
    if coming.cancelled():
        return encode_error(ShuttingDown(), frame.id)
    error = coming.exception()
    if error is None:
        return encode_ack(frame.id, frame.to, coming.result())
    if isinstance(error, Problem):
        return encode_error(error, frame.id)
    _log.error("a message could not be stored", exc_info=error)
    return encode_error(InternalError(), frame.id)
