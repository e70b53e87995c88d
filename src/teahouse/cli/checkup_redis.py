"""What ``doctor`` looks at in Redis: whether it can be reached, and whether it would keep what it is given."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from redis.exceptions import ResponseError

from teahouse.cli.findings import Finding, State
from teahouse.engines.redis import Redis
from teahouse.problems import Problem, RedisUnavailable
from teahouse.settings import Settings

_OLDEST = 7
_CLOCK_SECONDS = 1.0
# The shared one, the feed's and those that wait for the stream, with one to spare.
_CONNECTIONS_A_WORKER = 4
_FULL = 0.9
_AOF = ("appendonly yes", "appendfsync always")


async def redis(settings: Settings) -> AsyncIterator[Finding]:
    """The engine that decides for all workers; nothing where none is set. No line holds a password."""
    if not settings.redis.url:
        return
    try:
        engine = Redis(settings.redis.url.reveal(), timeout_seconds=settings.redis.timeout_seconds)
    except ValueError as error:
        yield Finding("redis", State.BROKEN, str(error))
        return
    try:
        await engine.connect()
        yield Finding("redis", State.GOOD, f"{engine.address} answers")
        # Each node of a Cluster has its say; what they have in common is said once.
        for finding in dict.fromkeys([finding async for finding in _nodes(engine, settings.workers)]):
            yield finding
    except Problem as error:
        yield Finding("redis", State.BROKEN, f"{engine.address}: {error.detail}")
    finally:
        await engine.aclose()


async def _nodes(engine: Redis, workers: int) -> AsyncIterator[Finding]:
    replies = await asyncio.gather(*engine.call_everywhere("INFO"))
    fsyncs = await asyncio.gather(*engine.call_everywhere("CONFIG", "GET", "appendfsync"), return_exceptions=True)
    before = time.time()
    clocks = await asyncio.gather(*engine.call_everywhere("TIME"))
    ours = (before + time.time()) / 2
    for reply, fsync, (seconds, micros) in zip(replies, fsyncs, clocks, strict=True):
        facts = _facts(reply)
        yield _version(facts)
        yield _memory(facts)
        yield _persistence(facts, fsync)
        yield _clock(int(seconds) + int(micros) / 1e6 - ours)
        for finding in _clients(facts, workers):
            yield finding


def _facts(reply: bytes) -> Mapping[str, str]:
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}


def _version(facts: Mapping[str, str]) -> Finding:
    version = facts.get("redis_version", "0")
    if int(version.partition(".")[0]) < _OLDEST:
        return Finding("redis version", State.BROKEN, f"{version}; Teahouse needs {_OLDEST}.0 or newer: upgrade it")
    return Finding("redis version", State.GOOD, version)


def _memory(facts: Mapping[str, str]) -> Finding:
    policy, limit = facts.get("maxmemory_policy", "noeviction"), int(facts.get("maxmemory", 0))
    used = int(facts.get("used_memory", 0))
    if policy != "noeviction":
        says = f"maxmemory-policy is {policy}: stock and sessions could be thrown away; set it to noeviction"
        return Finding("redis memory", State.BROKEN if limit else State.ODD, says)
    if limit and used > _FULL * limit:
        says = f"{used >> 20} of {limit >> 20} MiB are in use; raise maxmemory before writes are refused"
        return Finding("redis memory", State.ODD, says)
    return Finding("redis memory", State.GOOD, f"{used >> 20} MiB in use, nothing is evicted")


def _persistence(facts: Mapping[str, str], fsync: Any) -> Finding:
    if facts.get("aof_enabled") != "1":
        says = "appendonly is off: a restart loses sessions, stock and orders not yet recorded"
        return Finding("redis persistence", State.ODD, f"{says}; set: {', '.join(_AOF)}")
    if facts.get("aof_last_write_status", "ok") != "ok":
        return Finding("redis persistence", State.BROKEN, "it cannot write its append-only file; look at its disk")
    if isinstance(fsync, ResponseError | RedisUnavailable) or not fsync:
        return Finding("redis persistence", State.ODD, "CONFIG is forbidden here; see to it that appendfsync is always")
    how = fsync[1].decode()
    if how != "always":
        says = f"appendfsync is {how}: a crash loses up to its last second; always loses nothing"
        return Finding("redis persistence", State.ODD, says)
    return Finding("redis persistence", State.GOOD, "every write is on disk before its answer")


def _clock(ahead: float) -> Finding:
    if abs(ahead) <= _CLOCK_SECONDS:
        return Finding("redis clock", State.GOOD, "within a second of this machine's")
    way = "ahead of" if ahead > 0 else "behind"
    return Finding("redis clock", State.BROKEN, f"{abs(ahead):.1f} s {way} this machine's; set both by NTP")


def _clients(facts: Mapping[str, str], workers: int) -> Iterator[Finding]:
    if "maxclients" not in facts:
        return
    limit, now = int(facts["maxclients"]), int(facts.get("connected_clients", 0))
    wanted = workers * _CONNECTIONS_A_WORKER
    if limit - now < wanted:
        says = f"maxclients is {limit}, {now} are connected and this node wants {wanted} more; raise it"
        yield Finding("redis connections", State.ODD, says)
    else:
        yield Finding("redis connections", State.GOOD, f"room for {wanted} of this node, and more")
