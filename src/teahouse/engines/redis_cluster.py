"""How a pipeline reaches a Redis Cluster: each call goes to the primary that has its key's slot.

redis-py's own pipeline for Clusters is not used: it sends commands again whose answer was lost (or was 0, or nil), so
that a purchase might be carried out twice. Here a call is sent again only where a node says that it did not take it
(MOVED, ASK: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#redirection-and-resharding).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from redis.asyncio.connection import Connection
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from teahouse.engines.redis_address import Address, Place
from teahouse.engines.redis_pipes import Call, Command, exchanged, greeted, packed
from teahouse.engines.redis_replies import unavailable
from teahouse.engines.redis_wire import Wire
from teahouse.problems import RedisUnavailable

_SLOTS = 16_384
# How often one call follows a redirection.
_HOPS = 5
_ASKING = packed(("ASKING",))
# fmt: off
_KEYLESS = frozenset((
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "ECHO", "FLUSHALL", "FLUSHDB", "INFO", "KEYS",
    "LATENCY", "PING", "PUBSUB", "ROLE", "SCAN", "SCRIPT", "SLOWLOG", "TIME", "WAIT",
))
# fmt: on
# Where the key stands, when it does not stand first.
_SECOND = frozenset(("BITOP", "MEMORY", "OBJECT", "XGROUP", "XINFO"))
_COUNTED = frozenset(("EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO"))
_STREAMS = frozenset(("XREAD", "XREADGROUP"))


def slot_of(command: Command) -> int:
    """The slot of a command's first key; one without a key goes where slot 0 is. PUBLISH goes by its channel."""
    name = _text(command[0]).upper()
    if name in _KEYLESS:
        return 0
    at = 1
    if name in _SECOND:
        at = 2
    elif name in _COUNTED:
        at = 3 if len(command) > 3 and int(command[2]) else len(command)
    elif name in _STREAMS:
        at = 1 + next((n for n, word in enumerate(command) if _text(word).upper() == "STREAMS"), len(command))
    return key_slot(_bytes(command[at])) if at < len(command) else 0


def _text(word: object) -> str:
    return word.decode(errors="replace") if isinstance(word, bytes) else str(word)


def _bytes(word: object) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()


class ClusterPipe:
    """One connection to each primary. Where one of them is lost all are made anew, and the slots are read again."""

    def __init__(self, address: Address, timeout_seconds: float) -> None:
        self._address = address
        self._timeout = timeout_seconds
        self._seeds = list(address.places)
        self._wires: dict[Place, Wire] = {}
        self._run_ids: dict[Place, str] = {}
        self._owners: list[Place] = []
        self._failed: Exception | None = None
        # Exchanges overlap: one redirection that two of them meet opens one connection.
        self._following = asyncio.Lock()

    @property
    def incarnation(self) -> str:
        """See ``Pipe``."""
        return ",".join(sorted(self._run_ids.values()))

    @property
    def primaries(self) -> Sequence[Place]:
        """See ``Pipe``."""
        return tuple(self._wires)

    @property
    def failure(self) -> Exception | None:
        """See ``Pipe``."""
        if not self._wires:
            return RedisConnectionError("the connection was closed")
        return self._failed or next((wire.failure for wire in self._wires.values() if wire.failure), None)

    def alive(self) -> bool:
        """See ``Pipe``."""
        return self.failure is None and all(wire.alive() for wire in self._wires.values())

    def packed(self, command: Command) -> Call:
        """See ``Pipe``."""
        return packed(command), slot_of(command)

    # --- connections ---

    async def connect(self) -> None:
        """See ``Pipe``."""
        self._owners = await self._asked_slots()
        primaries = list(dict.fromkeys(self._owners))
        self._run_ids = {place: run_id for place, run_id in self._run_ids.items() if place in primaries}
        try:
            async with asyncio.TaskGroup() as group:
                for place in primaries:
                    group.create_task(self._open(place))
        except BaseExceptionGroup as errors:
            await self.aclose()
            raise errors.exceptions[0] from errors
        self._failed = None
        # Those that are there now, before those that the URL names.
        self._seeds = list(dict.fromkeys((*primaries, *self._address.places)))

    async def _open(self, place: Place) -> Wire:
        connection = await self._address.open(place)
        self._run_ids[place] = await greeted(connection)
        self._wires[place] = Wire(connection, self._timeout)
        return self._wires[place]

    async def _asked_slots(self) -> list[Place]:
        reason: Exception = RedisUnavailable("no node of the Cluster answers")
        for seed in self._seeds:
            try:
                # Whichever of them is away must leave time for the others.
                async with asyncio.timeout(self._timeout / 2):
                    return await self._slots_from(seed)
            except (RedisError, OSError, TimeoutError, RedisUnavailable) as error:
                reason = error
        raise reason

    async def _slots_from(self, seed: Place) -> list[Place]:
        connection = await self._address.open(seed)
        try:
            await connection.send_command("CLUSTER", "SLOTS", check_health=False)
            ranges = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        owners: list[Place | None] = [None] * _SLOTS
        for first, last, (host, port, *_), *_replicas in ranges:
            # A node that does not know its own address leaves it out, or says "?".
            name = host.decode() if host not in (None, b"", b"?") else seed[0]
            owners[first : last + 1] = [(name, port)] * (last + 1 - first)
        known = [owner for owner in owners if owner is not None]
        if len(known) < _SLOTS:
            raise RedisUnavailable(f"the Redis Cluster serves {len(known)} of {_SLOTS} slots")
        return known

    async def dedicated(self) -> tuple[Connection, str]:
        """See ``Pipe``. To any primary: the Cluster carries what is published at one to all."""
        reason: Exception = RedisConnectionError("the connection was closed")
        for place in self.primaries or self._seeds:
            try:
                connection = await self._address.open(place)
                return connection, await greeted(connection)
            except (RedisError, OSError, RedisUnavailable) as error:
                reason = error
        raise reason

    async def aclose(self) -> None:
        """See ``Pipe``."""
        wires = list(self._wires.values())
        self._wires.clear()
        for wire in wires:
            await wire.aclose()

    # --- calls ---

    async def exchange(self, calls: Sequence[Call]) -> list[Any]:
        """See ``Pipe``. Each node gets its calls as one pipeline, all nodes at once."""
        results: list[Any] = [None] * len(calls)
        todo: list[tuple[int, Call]] = list(enumerate(calls))
        for _ in range(_HOPS):
            await self._round(todo, results)
            redirected = [(at, call) for at, call in todo if isinstance(results[at], AskError)]
            if not redirected:
                return results
            # One answer may send a hundred calls the same way: it is followed once.
            async with self._following:
                for error in {str(results[at]): results[at] for at, _ in redirected}.values():
                    await self._follow(error)
            todo = redirected
        return [_refusal(result) if isinstance(result, AskError) else result for result in results]

    async def _round(self, todo: Iterable[tuple[int, Call]], results: list[Any]) -> None:
        parcels: dict[Place, list[tuple[int, Call]]] = {}
        for at, (data, where) in todo:
            error = results[at]
            if isinstance(error, AskError) and not isinstance(error, MovedError):
                place: Place = (error.host, error.port)
                # ASKING has a reply of its own, which is taken out below.
                parcels.setdefault(place, []).append((-1, (_ASKING, None)))
            else:
                place = where if isinstance(where, tuple) else self._owners[where or 0]
            parcels.setdefault(place, []).append((at, (data, where)))
        answers = await asyncio.gather(*(self._send(place, parcel) for place, parcel in parcels.items()))
        for parcel, replies in zip(parcels.values(), answers, strict=True):
            for (at, _), reply in zip(parcel, replies, strict=True):
                if at >= 0:
                    results[at] = reply

    async def _send(self, place: Place, parcel: Sequence[tuple[int, Call]]) -> list[Any]:
        wire = self._wires.get(place)
        if wire is None:
            return [RedisUnavailable("the Redis Cluster changes its nodes") for _ in parcel]
        return await exchanged(wire, [call for _, call in parcel])

    async def _follow(self, error: AskError) -> None:
        place: Place = (error.host, error.port)
        if place not in self._wires:
            try:
                async with asyncio.timeout(self._timeout):
                    await self._open(place)
            except (RedisError, OSError, TimeoutError, RedisUnavailable) as failure:
                self._failed = failure
        # ASK is about one call, MOVED (a kind of it in redis-py) about all that come.
        if isinstance(error, MovedError):
            self._owners[error.slot_id] = place


def _refusal(error: ResponseError) -> RedisUnavailable:
    return unavailable(RedisConnectionError(f"the Redis Cluster redirects in a circle: {error}"))
