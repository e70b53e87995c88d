"""A gateway on a free port, with stand-ins for the hub, the service and accounts that tests hold in their hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from teahouse.accounts import Caller
from teahouse.messages.frames import encode_message
from teahouse.messages.gateway import Gateway, GatewaySettings
from teahouse.messages.model import Extent, Message, conversation_of
from teahouse.messages.socket import ClientSocket
from teahouse.problems import AccessTokenInvalid, SessionEnded, Unauthorized
from tests.clocks import ManualClock
from tests.messages.raw_websocket import DEADLINE, Answer, RawSocket

ANN, BEN = "a" * 32, "b" * 32
USERS = {b"ann": ANN, b"ben": BEN}


class Accounts:
    """A ``Doorkeeper``: the token is the user's first name."""

    def __init__(self, clock: ManualClock) -> None:
        self.current = True
        self.ended: set[str] = set()
        self.asked: list[str] = []
        self.answer: Exception | None = None
        self._clock = clock

    def check(self, authorization: bytes | None) -> Caller:
        if authorization is None:
            raise Unauthorized
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or token not in USERS:
            raise AccessTokenInvalid
        now = int(self._clock.now())
        user_id = USERS[token]
        return Caller(user_id=user_id, session_id=f"s{user_id[1:]}", role="user", issued_at=now, expires_at=now + 600)

    async def confirmed(self, caller: Caller) -> Caller:
        self.asked.append(caller.session_id)
        if self.answer is not None:
            raise self.answer
        if self.has_ended(caller):
            raise SessionEnded
        return caller

    @property
    def ends(self) -> int:
        return len(self.ended)

    def has_ended(self, caller: Caller) -> bool:
        return caller.session_id in self.ended


class Hub:
    """Knows who is in; ``gate`` holds up whoever enters."""

    def __init__(self) -> None:
        self.inside: list[ClientSocket] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Exception | None = None

    async def enter(self, receiver: ClientSocket) -> Extent:
        self.inside.append(receiver)
        await self.gate.wait()
        if self.answer is not None:
            raise self.answer
        return Extent(2, 3)

    def leave(self, receiver: ClientSocket) -> None:
        self.inside.remove(receiver)

    def tell_all(self, frame: bytes) -> None:
        for receiver in list(self.inside):
            receiver.send(frame)


class Service:
    """Stores nothing. ``held``: messages wait until the test gives them their answer."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.sent: list[Message] = []
        self.waiting: list[asyncio.Future[Message]] = []
        self.held = False
        self.refusal: Exception | None = None
        self.calls: list[tuple[Any, ...]] = []
        self.syncing: Callable[[ClientSocket, str, int], Any] | None = None

    def send(
        self, caller_id: str, *, kind: Any, id: str, to: str, content: str, origin: str
    ) -> asyncio.Future[Message]:
        if self.refusal is not None:
            raise self.refusal
        conversation = conversation_of(caller_id, to)
        message = Message(conversation, len(self.sent) + 1, caller_id, id, kind, content, 1_767_225_600_000)
        self.sent.append(message)
        coming: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        if self.held:
            self.waiting.append(coming)
            return coming
        coming.set_result(message)
        frame = encode_message(message)
        for receiver in self.hub.inside:
            if receiver.id != origin:
                receiver.send(frame)
        return coming

    def answer(self, place: int) -> None:
        """The message that came at that place is stored now."""
        self.waiting[place].set_result(self.sent[place])

    async def sync(self, receiver: ClientSocket, to: str, after: int) -> bool:
        self.calls.append(("sync", receiver.user_id, to, after))
        return True if self.syncing is None else await self.syncing(receiver, to, after)

    async def mark_read(self, caller_id: str, to: str, seq: int) -> int:
        self.calls.append(("read", caller_id, to, seq))
        return seq

    async def presence(self, receiver: ClientSocket, to: str) -> list[str]:
        self.calls.append(("presence", receiver.user_id, to))
        return [ANN, BEN]


@dataclass
class Served:
    """A gateway that listens on loopback, and the sockets that were opened to it."""

    gateway: Gateway
    hub: Hub
    service: Service
    accounts: Accounts
    clock: ManualClock
    port: int
    clients: list[RawSocket] = field(default_factory=list)

    async def connect(self, **how: Any) -> RawSocket:
        client = await RawSocket.connect(self.port, **how)
        self.clients.append(client)
        return client

    async def ask(self, *fields: str, **how: Any) -> Answer:
        """The answer to an upgrade on a connection of its own."""
        return await (await self.connect()).upgrade(*fields, **how)

    async def upgraded(self, token: str = "ann", **how: Any) -> RawSocket:
        """A socket that was not read from yet."""
        client = await self.connect(**how)
        answer = await client.upgrade(token=token)
        assert answer.status == 101, answer
        return client

    async def enter(self, token: str = "ann", **how: Any) -> RawSocket:
        """A socket that was welcomed."""
        client = await self.upgraded(token, **how)
        welcome = await client.json()
        assert welcome["type"] == "welcome"
        return client

    async def ticks(self, count: int) -> None:
        """Lets that many seconds of the gateway pass at once."""
        for _ in range(count):
            self.gateway.tick += 1
            for each in list(self.gateway._connections):
                self.gateway.look_at(each)
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(*, beside: Any = None, **settings: Any) -> AsyncIterator[Served]:
    """Serves on a free port, with time that only the test moves; fails where an exception escaped into the loop.

    ``beside`` is the HTTP server whose access log it is.
    """
    escaped: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: escaped.append(context))
    clock = ManualClock()
    hub, accounts = Hub(), Accounts(clock)
    service = Service(hub)
    gateway = Gateway(
        hub,
        service,
        accounts,
        node_id="n1",
        clock=clock,
        settings=GatewaySettings(**settings),
        beside=lambda: beside,
    )
    port = await gateway.start("127.0.0.1", 0)
    assert gateway._sweeper is not None
    gateway._sweeper.cancel()
    served = Served(gateway, hub, service, accounts, clock, port)
    try:
        yield served
    finally:
        for client in served.clients:
            client.drop()
        hub.gate.set()
        await gateway.stop(0)
    await eventually(lambda: not gateway.sockets)
    await eventually(lambda: not hub.inside)
    assert escaped == [], escaped


async def eventually(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Polls until the condition holds; fails at the deadline."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "did not happen in time"
        await asyncio.sleep(0.002)
