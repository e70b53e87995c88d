"""What the gateway's sockets are under their frames, saying back whatever comes: for suites that test RFC 6455."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from teahouse.messages.assembling import WireLimits
from teahouse.messages.framing import BINARY, frame
from teahouse.messages.outbox import Outbox
from teahouse.messages.upgrade import read_upgrade
from teahouse.messages.websocket import WebSocket

# The suites send messages of 16 MiB in fragments of 64 bytes.
LIMITS = WireLimits(message_bytes=2**24, fragments=2**18 + 1, unsent_bytes=2**26)


class Echo(WebSocket):
    """Says back what it hears."""

    __slots__ = ()

    takes_binary = True

    def asked(self, head: bytes | None) -> None:
        assert head is not None
        _target, _, rest = head.removeprefix(b"GET ").partition(b" ")
        self.accept(read_upgrade(b"GET /message " + rest, ("*",)).answer)

    def received(self, text: str) -> None:
        self.send(text.encode())

    def received_binary(self, payload: bytes) -> None:
        self._put(frame(BINARY, payload))


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """Listens on a free port of loopback."""
    outbox = Outbox()
    server = await asyncio.get_running_loop().create_server(lambda: Echo(outbox, LIMITS), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
