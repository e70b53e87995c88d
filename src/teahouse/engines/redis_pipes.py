"""How a pipeline reaches Redis: one server (or a Sentinel's primary) over one connection, or a Cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

Argument = bytes | str | int | float
Command = tuple[Argument, ...]


class Pipe(Protocol):
    """Carries commands to where they belong and their replies back, in order."""

    @property
    def incarnation(self) -> str:
        """The run id of the server (of all primaries, joined) that ``connect`` found."""
        ...

    async def connect(self) -> None:
        """Ready to exchange when this returns. Raises what redis-py raises."""
        ...

    async def aclose(self) -> None:
        """Closes; ``connect`` may be called again."""
        ...

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """One reply for each command, or the error the server replied with.

        Whatever it raises, some of the commands may have been carried out.
        """
        ...

    async def dedicated(self) -> Connection:
        """A connection for one reader alone, such as a subscription; the caller disconnects it."""
        ...


def pipe_to(url: str, timeout_seconds: float) -> Pipe:
    """The pipe for an address."""
    return ServerPipe(url, timeout_seconds)


class ServerPipe:
    """One connection to one server."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._pool: ConnectionPool = ConnectionPool.from_url(
            url,
            protocol=2,
            # One time-out for a whole pipeline is kept above; a second one for each reply would cost more than it.
            socket_timeout=None,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )
        self._connection: Connection | None = None
        self.incarnation = ""

    async def connect(self) -> None:
        """See ``Pipe``."""
        connection = await self.dedicated()
        try:
            self.incarnation = await _run_id(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection

    async def dedicated(self) -> Connection:
        """See ``Pipe``."""
        connection: Connection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's own
        await connection.connect()  # type: ignore[no-untyped-call]
        return connection

    async def aclose(self) -> None:
        """See ``Pipe``."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """See ``Pipe``."""
        connection = self._connection
        if connection is None or not connection.is_connected:
            raise RedisConnectionError("the connection was closed")
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        return [await _reply(connection) for _ in commands]


async def _reply(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


async def _run_id(connection: Connection) -> str:
    await connection.send_command("INFO", "server", check_health=False)
    async with asyncio.timeout(2.0):
        answer: bytes = await connection.read_response()
    for line in answer.decode().splitlines():
        name, _, value = line.partition(":")
        if name == "run_id":
            return value
    return ""
