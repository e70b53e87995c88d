"""The door for WebSockets of one worker: who may come in, who is told what when it ends, and an orderly stop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter, deque
from collections.abc import Callable, Collection
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from teahouse.accounts import Caller
from teahouse.clock import Clock
from teahouse.messages.answers import Answers, Asked, Served
from teahouse.messages.assembling import WireLimits
from teahouse.messages.close_codes import GOING_AWAY, MEANINGS, RESTARTING, SERVER_ERROR, TOKEN_ENDED, TRY_AGAIN
from teahouse.messages.frames import encode_welcome
from teahouse.messages.model import Extent
from teahouse.messages.outbox import Outbox
from teahouse.messages.socket import ClientSocket, Messaging, Pace
from teahouse.messages.upgrade import read_upgrade
from teahouse.problems import (
    InternalError,
    Overloaded,
    Problem,
    RequestHeaderFieldsTooLarge,
    RequestTimeout,
    ShuttingDown,
    Unauthorized,
)
from teahouse.web.listening import turn_away

_log = logging.getLogger(__name__)

_BACKLOG = 4096
# Connections that ask for an upgrade, beside those that have it.
_ASKING = 2000
# For so long at a time upgrades are judged, before HTTP has its turn: many clients may come back at once.
_TURN_SECONDS = 0.005
_ENTERING = 128
_SWEEP_SLICE = 1000
# Whether sessions have ended is looked at so often.
_LOOK_SECONDS = 0.1

OTHER_CODE = 0


class Doorkeeper(Protocol):
    """Who somebody is, and whether they still are."""

    @property
    def current(self) -> bool:
        """Whether this node has heard of every session that ended up to a second ago."""
        ...

    def check(self, authorization: bytes | None) -> Caller:
        """The caller behind an Authorization header, as far as this node has heard. Raises a 401 problem."""
        ...

    async def confirmed(self, caller: Caller) -> Caller:
        """Asks where sessions are kept. Raises ``SessionEnded`` or a 503 problem."""
        ...

    @property
    def ends(self) -> int:
        """Rises whenever ``has_ended`` may have become true of somebody."""
        ...

    def has_ended(self, caller: Caller) -> bool:
        """Whether this node has heard that the caller's session ended. Asked of every socket once a second, and
        soon after ``ends`` has risen.
        """
        ...


class Entrance(Protocol):
    """The hub, as the gateway knows it."""

    async def enter(self, receiver: ClientSocket) -> Extent:
        """When it returns, every message stored from now on reaches the receiver, as far as ``Extent`` says. Raises 503
        problems.
        """
        ...

    def leave(self, receiver: ClientSocket) -> None:
        """The receiver is no more."""
        ...


class GatewaySettings(NamedTuple):
    """A client is asked for a sign of life after ``heartbeat_seconds`` of silence, to the second, and given up after as
    long again. ``origins`` are those that may connect beside this host's pages; ``*`` lets all. At a stop sockets are
    closed over ``restart_seconds``.
    """

    connections: int = 10_000
    heartbeat_seconds: int = 30
    restart_seconds: float = 3.0
    origins: Collection[str] = ()
    pace: Pace = Pace()
    wire: WireLimits = WireLimits()


class Gateway:
    """The sockets of one worker.

    No socket has a task or a timer: one task looks at all of them once a second.
    """

    def __init__(
        self,
        hub: Entrance,
        messaging: Messaging,
        doorkeeper: Doorkeeper,
        *,
        node_id: str,
        clock: Clock,
        settings: GatewaySettings = GatewaySettings(),  # noqa: B008 - a frozen tuple
        beside: Callable[[], Served | None] = lambda: None,
    ) -> None:
        self.messaging = messaging
        self.outbox = Outbox()
        self.limits = settings.wire
        self.pace = settings.pace
        self.now = clock.monotonic
        self.tick = 0
        self.refused = 0
        self.closes: Counter[int] = Counter()
        self._hub = hub
        self._doorkeeper = doorkeeper
        self._node_id = node_id
        self._clock = clock
        self._settings = settings
        self._answers = Answers(clock, beside)
        self._connections: set[ClientSocket] = set()
        self._sockets: dict[str, ClientSocket] = {}
        self._asking: deque[tuple[ClientSocket, Asked]] = deque()
        self._count = 0
        self._stopping = False
        self._doors: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Semaphore(_ENTERING)
        self._ended = asyncio.Event()
        self._sweeper: asyncio.Task[None] | None = None
        self._ends = 0

    @property
    def port(self) -> int:
        """See ``Realtime``."""
        return int(self._doors[0].sockets[0].getsockname()[1]) if self._doors else 0

    @property
    def most_connections(self) -> int:
        """See ``Realtime``."""
        return self._settings.connections + _ASKING

    @property
    def sockets(self) -> Collection[ClientSocket]:
        """Those whose upgrade was accepted and whose connection is there."""
        return self._sockets.values()

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self, host: str, port: int) -> int:
        """Listens and returns the port, a free one where ``port`` is 0. Raises ``OSError`` where it is taken."""
        await self._open(host=host, port=port, reuse_address=True)
        return self.port

    async def accept_from(self, listening: socket.socket) -> asyncio.Server:
        """Accepts from a socket that listens already, until what is returned is given to ``accept_no_more``."""
        return await self._open(sock=listening)

    async def _open(self, **where: Any) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if self._sweeper is None:
            self._sweeper = loop.create_task(self._sweeping(), name="gateway sweep")
        doors = await loop.create_server(lambda: ClientSocket(self), backlog=_BACKLOG, **where)
        self._doors.append(doors)
        return doors

    def accept_no_more(self, doors: asyncio.Server) -> None:
        """Leaves them to another process that accepts from the same sockets."""
        self._doors.remove(doors)
        doors.close()

    async def stop(self, seconds: float | None = None, *, handed_over: bool = False) -> None:
        """Takes nobody in any more, and closes all sockets with 1012, spread evenly over that time
        (``restart_seconds``). It may be called again.

        ``handed_over``: another process accepts from the listening sockets, so they go on.
        """
        seconds = self._settings.restart_seconds if seconds is None else seconds
        self._stopping = True
        doors, self._doors = self._doors, []
        if doors and not handed_over:
            await asyncio.sleep(max(map(turn_away, doors)))
        for each in doors:
            each.close()
        # What was accepted a moment ago is announced in the next turn of the loop, and refused in the one after.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await self._retire_all(seconds)
        await self._all_ended(self.limits.close_seconds)
        for connection in list(self._connections):
            connection.abort()
        tasks = [task for task in (*self._tasks, self._sweeper) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _retire_all(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        sockets = list(self._sockets.values())
        start = loop.time()
        for place, each in enumerate(sockets):
            wait = start + seconds * place / len(sockets) - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            each.retire(RESTARTING, "restarting")

    async def _all_ended(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._sockets and (left := deadline - loop.time()) > 0:
            self._ended.clear()
            try:
                await asyncio.wait_for(self._ended.wait(), left)
            except TimeoutError:
                return

    # --- coming in ----------------------------------------------------------------------------------------------------

    def arrived(self, socket: ClientSocket) -> None:
        """See ``Shared``."""
        self._connections.add(socket)
        if len(self._connections) > self.most_connections:
            socket.abort()

    def asked(self, socket: ClientSocket, head: bytes | None) -> None:
        """See ``Shared``."""
        if not self._asking:
            asyncio.get_running_loop().call_soon(self._judge)
        self._asking.append((socket, Asked(head, perf_counter())))

    def _judge(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _TURN_SECONDS
        while self._asking and loop.time() < until:
            self._upgrade(*self._asking.popleft())
        if self._asking:
            loop.call_soon(self._judge)

    def _upgrade(self, socket: ClientSocket, asked: Asked) -> None:
        try:
            self._admit(socket, asked)
        except Problem as problem:
            self._refuse(socket, asked, problem)
        except Exception:  # noqa: BLE001 - logged and answered
            _log.exception("an upgrade could not be judged")
            self._refuse(socket, asked, InternalError())

    def _admit(self, socket: ClientSocket, asked: Asked) -> None:
        if asked.head is None:
            raise RequestHeaderFieldsTooLarge
        upgrade = read_upgrade(asked.head, self._settings.origins)
        if self._stopping:
            raise ShuttingDown
        if len(self._sockets) >= self._settings.connections:
            raise Overloaded("This worker has as many sockets as it takes.")
        caller = self._doorkeeper.check(upgrade.authorization)
        if not socket.is_asking:
            return
        self._count += 1
        number = f"{self._node_id}.{self._count}"
        self._sockets[number] = socket
        self._answers.accept(socket, asked, number, caller, upgrade)
        task = asyncio.get_running_loop().create_task(self._enter(socket))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refuse(self, socket: ClientSocket, asked: Asked, problem: Problem) -> None:
        self.refused += 1
        self._answers.refuse(socket, asked, problem)

    def closing(self, code: int) -> None:
        """See ``Shared``."""
        # What a client made up is not worth a figure of its own.
        self.closes[code if code in MEANINGS else OTHER_CODE] += 1

    def leaving(self, socket: ClientSocket) -> None:
        """See ``Shared``."""
        if socket.begun:
            self._hub.leave(socket)

    def gone(self, socket: ClientSocket) -> None:
        """See ``Shared``."""
        self._connections.discard(socket)
        self._sockets.pop(socket.id, None)
        self._ended.set()

    async def _enter(self, socket: ClientSocket) -> None:
        try:
            # So many at a time, however many come back at once.
            async with self._turn:
                if socket.ends_at:
                    return
                if not self._doorkeeper.current and socket.caller is not None:
                    await self._doorkeeper.confirmed(socket.caller)
                extent = await self._hub.enter(socket)
        except Unauthorized as problem:
            socket.close(TOKEN_ENDED, problem.slug)
        except Problem as problem:
            socket.close(TRY_AGAIN, problem.slug)
        except Exception:  # noqa: BLE001 - logged; the socket closes
            _log.exception("a socket could not be let in")
            socket.close(SERVER_ERROR, "internal-error")
        else:
            self._welcome(socket, extent)

    def _welcome(self, socket: ClientSocket, extent: Extent) -> None:
        if socket.ends_at:
            # It left while it was let in, and the hub has not heard of that.
            self._hub.leave(socket)
            return
        heartbeat = self._settings.heartbeat_seconds
        socket.begin(encode_welcome(socket.user_id, self._node_id, heartbeat, self._clock.now_ms(), extent))

    # --- once a second ------------------------------------------------------------------------------------------------

    async def _sweeping(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            # A loop that was held up counts no time against its clients: their signs of life may be waiting to be read.
            due = max(due + 1, loop.time())
            while (left := due - loop.time()) > 0:
                await asyncio.sleep(min(left, _LOOK_SECONDS))
                if self._doorkeeper.ends != self._ends:
                    await self._look_at_all()
            self.tick += 1
            await self._look_at_all()

    async def _look_at_all(self) -> None:
        self._ends = self._doorkeeper.ends
        now, has_ended = self._clock.now(), self._doorkeeper.has_ended
        lately = self.tick - self._settings.heartbeat_seconds
        for place, each in enumerate(list(self._connections)):
            if place % _SWEEP_SLICE == _SWEEP_SLICE - 1:
                await asyncio.sleep(0)
                now = self._clock.now()
            try:
                caller = each.caller
                # Of thousands nearly all are well: to see that costs a third of looking closely.
                if (
                    caller is None
                    or each.ends_at
                    or each.heard < lately
                    or caller.expires_at <= now
                    or has_ended(caller)
                ):
                    self.look_at(each)
                else:
                    each.pinged = False
            except Exception:  # noqa: BLE001 - logged; the deadlines of the others must hold
                _log.exception("a socket's deadlines could not be kept")
                each.abort()

    def look_at(self, socket: ClientSocket) -> None:
        """Keeps the socket's deadlines."""
        caller = socket.caller
        if socket.ends_at:
            if asyncio.get_running_loop().time() >= socket.ends_at:
                self._give_up(socket)
        elif caller is None:
            return
        elif caller.expires_at <= self._clock.now():
            socket.log_out("token-expired")
        elif self._doorkeeper.has_ended(caller):
            socket.log_out("logged-out")
        elif not socket.is_paused:
            self._listen_for(socket)

    def _give_up(self, socket: ClientSocket) -> None:
        if socket.is_asking:
            late = RequestTimeout("The request to upgrade did not come in time.")
            self._refuse(socket, Asked(None, perf_counter()), late)
        else:
            socket.abort()

    def _listen_for(self, socket: ClientSocket) -> None:
        silence = self.tick - socket.heard - 1  # what was heard just before a tick is not a second old at it
        heartbeat = self._settings.heartbeat_seconds
        if silence < heartbeat:
            socket.pinged = False
        elif silence >= 2 * heartbeat:
            socket.close(GOING_AWAY, "nothing heard")
        elif not socket.pinged:
            socket.pinged = True
            socket.ping()
