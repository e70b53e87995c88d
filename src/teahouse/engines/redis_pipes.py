"""How a pipeline reaches Redis: one server, or whichever server the Sentinels name as the primary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from hiredis import pack_command
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from teahouse.engines.redis_address import Address, Place
from teahouse.engines.redis_replies import unavailable
from teahouse.engines.redis_wire import Wire
from teahouse.problems import OutcomeUnknown, RedisUnavailable

Argument = bytes | str | int | float
Command = tuple[Argument, ...]
# A command as bytes, and where it belongs: the slot of its key or a primary of the Cluster; None where there is one.
Call = tuple[bytes, int | Place | None]


def packed(command: Command) -> bytes:
    """The command as RESP. Raises ``TypeError`` for an argument that is no ``Argument``."""
    # hiredis' stub knows tuples of one word only.
    whole: bytes = pack_command(command)  # type: ignore[arg-type]
    return whole


class Pipe(Protocol):
    """Carries calls to where they belong and their replies back, in order."""

    @property
    def incarnation(self) -> str:
        """The run id of the server that ``connect`` found; of all primaries, joined by commas, in a Cluster."""
        ...

    @property
    def failure(self) -> Exception | None:
        """Why nothing can be exchanged any more; None while it can."""
        ...

    @property
    def primaries(self) -> Sequence[Place]:
        """The primaries of a Cluster; nothing elsewhere."""
        ...

    def alive(self) -> bool:
        """Whether a call would leave now, as far as this machine knows; ``failure`` says why not."""
        ...

    def packed(self, command: Command) -> Call:
        """The command ready to leave. Raises ``TypeError`` for an argument that is no ``Argument``."""
        ...

    async def connect(self) -> None:
        """Ready to exchange when this returns. Raises what redis-py raises, and ``RedisUnavailable``."""
        ...

    async def aclose(self) -> None:
        """Closes; ``connect`` may be called again."""
        ...

    async def exchange(self, calls: Sequence[Call]) -> list[Any]:
        """For each call its reply, the ``ResponseError`` of the server, ``RedisUnavailable`` (it was not carried out)
        or ``OutcomeUnknown`` (it left, and no answer came).
        """
        ...

    async def dedicated(self) -> tuple[Connection, str]:
        """A connection for one reader alone, which disconnects it, and the run id at its other end."""
        ...


class ServerPipe:
    """One connection to one primary."""

    primaries: Sequence[Place] = ()

    def __init__(self, address: Address, timeout_seconds: float) -> None:
        self.incarnation = ""
        self._address = address
        self._timeout = timeout_seconds
        self._wire: Wire | None = None

    @property
    def failure(self) -> Exception | None:
        """See ``Pipe``."""
        return RedisConnectionError("the connection was closed") if self._wire is None else self._wire.failure

    def alive(self) -> bool:
        """See ``Pipe``."""
        return self._wire is not None and self._wire.alive()

    def packed(self, command: Command) -> Call:
        """See ``Pipe``."""
        return packed(command), None

    async def connect(self) -> None:
        """See ``Pipe``."""
        connection, self.incarnation = await self.dedicated()
        self._wire = Wire(connection, self._timeout)

    async def dedicated(self) -> tuple[Connection, str]:
        """See ``Pipe``."""
        connection = await self._address.open(await self._place())
        return connection, await greeted(connection)

    async def _place(self) -> Place | None:
        return None

    async def aclose(self) -> None:
        """See ``Pipe``."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.aclose()

    async def exchange(self, calls: Sequence[Call]) -> list[Any]:
        """See ``Pipe``."""
        if self._wire is None:
            return refused(calls, RedisConnectionError("the connection was closed"))
        return await exchanged(self._wire, calls)


class SentinelPipe(ServerPipe):
    """One connection to the server that the Sentinels name as the primary (https://redis.io/docs/latest/develop/reference/sentinel-clients/)."""

    async def _place(self) -> Place:
        options = {
            **self._address.tls,
            **self._address.sentinel_account,
            # Whoever of them is away must leave time for the others.
            "socket_timeout": self._timeout / (len(self._address.places) + 1),
            "socket_connect_timeout": self._timeout / (len(self._address.places) + 1),
            "retry": Retry(NoBackoff(), 0),
        }
        sentinel = Sentinel(self._address.places, sentinel_kwargs=options)  # type: ignore[no-untyped-call]  # redis-py's own
        try:
            host, port = await sentinel.discover_master(self._address.service)
        finally:
            await sentinel.aclose()
        return str(host), int(port)


async def exchanged(wire: Wire, calls: Sequence[Call]) -> list[Any]:
    """What became of calls that all belong to one server; as ``Pipe.exchange``."""
    if not wire.alive():
        return refused(calls, wire.failure or RedisConnectionError("the connection was closed"))
    replies = await wire.exchange(b"".join([data for data, _ in calls]), len(calls))
    missing = len(calls) - len(replies)
    return replies + [OutcomeUnknown() for _ in range(missing)] if missing else replies


def refused(calls: Sequence[Call], reason: Exception) -> list[RedisUnavailable]:
    """The answer to calls that did not leave, one of its own to each."""
    return [unavailable(reason) for _ in calls]


async def greeted(connection: Connection) -> str:
    """The run id of the server at the other end; disconnects and raises where it is not fit to be used."""
    try:
        await _pinged(connection)
        facts = {**await _facts(connection, "server"), **await _facts(connection, "replication")}
        if facts.get("role") != "master":
            raise RedisUnavailable("Redis is a replica here; TEAHOUSE_REDIS__URL must name the primary")
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return facts["run_id"]


async def _pinged(connection: Connection) -> None:
    await connection.send_command("PING", check_health=False)
    try:
        await connection.read_response()
    except ResponseError as error:
        # One that cannot write to its disk answers this to PING too, and still serves reads.
        if not str(error).startswith("MISCONF"):
            raise


async def _facts(connection: Connection, section: str) -> dict[str, str]:
    await connection.send_command("INFO", section, check_health=False)
    answer: bytes = await connection.read_response()
    lines = (line.partition(":") for line in answer.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}
