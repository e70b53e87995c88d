"""Sockets that are open, and how all of them say goodbye."""

from __future__ import annotations

import asyncio
import ssl

from teahouse.client.socket import Socket
from teahouse.client.wire import Address


class OpenSockets:
    """Those that are connecting or connected. Whoever makes a socket says here when it has ended.

    ``leaving``: from now on sockets end because they are meant to.
    """

    def __init__(self) -> None:
        self.leaving = False
        self._sockets: set[Socket] = set()
        self._gone = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self._sockets)

    async def connect(self, socket: Socket, address: Address, tls: ssl.SSLContext | None, *, patience: float) -> None:
        """Returns when it is welcomed. Raises what ``Socket.connect`` raises; the socket is none of these then."""
        self._sockets.add(socket)
        try:
            await socket.connect(address, tls, patience=patience)
        except BaseException:
            self._sockets.discard(socket)
            raise

    def ended(self, socket: Socket) -> None:
        """It is over."""
        self._sockets.discard(socket)
        self._gone.set()

    async def leave(self, *, within: float) -> None:
        """Everybody says goodbye; who is not answered within so many seconds is cut off."""
        self.leaving = True
        for socket in list(self._sockets):
            socket.leave()
        try:
            async with asyncio.timeout(within):
                while self._sockets:
                    self._gone.clear()
                    await self._gone.wait()
        except TimeoutError:
            pass
        finally:
            for socket in list(self._sockets):
                socket.abort()
            # Transports end in the next turn of the loop.
            await asyncio.sleep(0)
