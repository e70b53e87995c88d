"""What listens beside HTTP: sockets that stay open for as long as their clients do."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

# The note on an ``OSError`` that was about this listener's port.
REALTIME = "realtime"


class Realtime(Protocol):
    """A listener that lives as long as the server: an app that has one sets ``App.realtime``."""

    @property
    def port(self) -> int:
        """Where it listens; 0 where it does not yet."""
        ...

    @property
    def most_connections(self) -> int:
        """How many it may have at once in this process: as many open files are made room for."""
        ...

    async def start(self, host: str, port: int) -> int:
        """Listens and returns the port, a free one where ``port`` is 0. Raises ``OSError`` where it is taken."""
        ...

    async def accept_from(self, listening: socket.socket) -> asyncio.Server:
        """Accepts from a socket that listens already, until what is returned is closed."""
        ...

    def accept_no_more(self, doors: asyncio.Server) -> None:
        """Leaves them to another process that accepts from the same sockets."""
        ...

    async def stop(self, *, handed_over: bool = False) -> None:
        """Takes no new connection, and ends the open ones so that their clients come back a few at a time.

        ``handed_over``: another process accepts from the listening sockets, so they go on. May be called again.
        """
        ...
