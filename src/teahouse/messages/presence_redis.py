"""Presence across nodes: each worker keeps the set of its people in Redis, which runs out unless it is renewed.

One key for each worker and none for each person: to renew it is one call every three seconds, however many are there.
All keys share a hash tag, so that in a Cluster one script sees them all; Redis' own clock decides what is stale.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Collection, Sequence
from itertools import islice

from redis.exceptions import RedisError

from teahouse.batching import Batcher, FlushFailed
from teahouse.engines.redis import Redis, Script
from teahouse.engines.redis_replies import told
from teahouse.problems import OutcomeUnknown, Problem, RedisUnavailable

RENEW_SECONDS = 3.0
STALE_SECONDS = 15.0
_RETRY_SECONDS = 1.0
_CHUNK = 1_000
_MOST_WAITING = 100_000

_log = logging.getLogger(__name__)

# KEYS[1] when each worker was last heard of; its people are beside it, under its name.
_OTHERS = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local stale = tonumber(ARGV[2])
local mine = KEYS[1] .. ':' .. ARGV[1]
local others = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (now - stale), '+inf')) do
  if worker ~= ARGV[1] then others[#others + 1] = KEYS[1] .. ':' .. worker end
end
local function elsewhere(person)
  for _, other in ipairs(others) do
    if redis.call('SISMEMBER', other, person) == 1 then return true end
  end
  return false
end
local function alive()
  redis.call('ZADD', KEYS[1], now, ARGV[1])
  -- Longer than it counts: when it has died another one reads whom it leaves behind.
  redis.call('PEXPIRE', mine, 4 * stale)
end
"""

# ARGV: worker, milliseconds, then '+' or '-' and a person, … → how many people Redis had of the worker and how many it
# has, then for each 1 where that changed whether they are there.
TELL = Script(
    _OTHERS
    + """
local results = {redis.call('SCARD', mine), 0}
for at = 3, #ARGV, 2 do
  local command = ARGV[at] == '+' and 'SADD' or 'SREM'
  local changed = redis.call(command, mine, ARGV[at + 1])
  if changed == 1 and elsewhere(ARGV[at + 1]) then changed = 0 end
  results[#results + 1] = changed
end
alive()
results[2] = redis.call('SCARD', mine)
return results
"""
)

# ARGV: worker, milliseconds → how many people Redis has of it, and who has gone with workers that died.
RENEW = Script(
    _OTHERS
    + """
alive()
others[#others + 1] = mine
local results = {redis.call('SCARD', mine)}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - stale)) do
  local left = KEYS[1] .. ':' .. worker
  for _, person in ipairs(redis.call('SMEMBERS', left)) do
    if not elsewhere(person) then results[#results + 1] = person end
  end
  redis.call('ZREM', KEYS[1], worker)
  redis.call('DEL', left)
end
return results
"""
)

# ARGV: worker, milliseconds, people … → for each 1 where they are there.
ONLINE = Script(
    _OTHERS
    + """
local people = {}
for at = 3, #ARGV do people[#people + 1] = ARGV[at] end
local results = {}
for at = 1, #people do results[at] = 0 end
others[#others + 1] = mine
for _, worker in ipairs(others) do
  local there = redis.call('SMISMEMBER', worker, unpack(people))
  for at = 1, #people do results[at] = math.max(results[at], there[at]) end
end
return results
"""
)


class RedisPresence:
    """A ``Presence``. ``node`` names this worker, uniquely among all that run."""

    def __init__(
        self,
        redis: Redis,
        *,
        node: str | None = None,
        renew_seconds: float = RENEW_SECONDS,
        stale_seconds: float = STALE_SECONDS,
    ) -> None:
        self._redis = redis
        self._node = node or uuid.uuid4().hex
        self._renew_seconds = renew_seconds
        self._stale = int(stale_seconds * 1000)
        self._key = "{teahouse:presence}"
        self._mine = f"{self._key}:{self._node}"
        self._here: set[str] = set()
        # So many Redis had of them when it last answered; and whether it may not have been told of all.
        self._known = 0
        self._owing = False
        # What changes the set, and what compares with it, are one after the other.
        self._turn = asyncio.Lock()
        self._on_gone: Callable[[Sequence[str]], None] | None = None
        self._on_restored: Callable[[], None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._telling: Batcher[tuple[str, str], bool] = Batcher(
            self._tell, name="presence", max_batch=_CHUNK, max_waiting=_MOST_WAITING
        )

    def on_gone(self, hook: Callable[[Sequence[str]], None]) -> None:
        """See ``Presence``."""
        self._on_gone = hook

    def on_restored(self, hook: Callable[[], None]) -> None:
        """See ``Presence``."""
        self._on_restored = hook

    async def start(self) -> None:
        """See ``Presence``."""
        await self._renew()
        self._renewing = asyncio.get_running_loop().create_task(self._keep(), name="renew presence")

    async def aclose(self) -> None:
        """See ``Presence``."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await self._telling.aclose()
        left_over = bool(self._here) or self._owing
        self._here.clear()
        try:
            if left_over:
                # Last heard of long ago: whoever renews next reads whom it leaves behind, and tells of them.
                await self._redis.ask("ZADD", self._key, 0, self._node)
            else:
                await self._redis.ask("ZREM", self._key, self._node)
                await self._redis.ask("DEL", self._mine)
        except (Problem, RedisError) as error:
            # It runs out by itself.
            _log.warning("the people of this node are taken for present a while longer: %s", told(error))

    async def arrived(self, user_id: str) -> bool:
        """See ``Presence``."""
        self._here.add(user_id)
        return await self._told("+", user_id)

    async def departed(self, user_id: str) -> bool:
        """See ``Presence``."""
        self._here.discard(user_id)
        return await self._told("-", user_id)

    async def online(self, user_ids: Collection[str]) -> set[str]:
        """See ``Presence``."""
        found: set[str] = set()
        everybody = list(user_ids)
        for at in range(0, len(everybody), _CHUNK):
            chunk = everybody[at : at + _CHUNK]
            answers = await self._run(ONLINE, chunk)
            found.update(user_id for user_id, answer in zip(chunk, answers, strict=True) if answer)
        return found

    async def _told(self, what: str, user_id: str) -> bool:
        try:
            return await self._telling.submit((what, user_id))
        except BaseException as error:
            self._owing = True
            if isinstance(error, FlushFailed) and isinstance(error.__cause__, Problem):
                raise RedisUnavailable(error.__cause__.detail) from error
            raise

    async def _tell(self, changes: list[tuple[str, str]]) -> Sequence[bool]:
        words = [word for change in changes for word in change]
        async with self._turn:
            before, after, *answers = await self._run(TELL, words)
            self._owing = self._owing or before != self._known
            self._known = after
        return [bool(answer) for answer in answers]

    async def _run(self, script: Script, words: Sequence[str]) -> list[int]:
        try:
            answers: list[int] = await self._redis.run(script, (self._key,), (self._node, self._stale, *words))
        except OutcomeUnknown as error:
            raise RedisUnavailable("Redis did not answer in time.") from error
        return answers

    # --- renewing ---

    async def _keep(self) -> None:
        pause = self._renew_seconds
        while True:
            await asyncio.sleep(pause)
            pause = self._renew_seconds if await self._renewed() else min(_RETRY_SECONDS, self._renew_seconds)

    async def _renewed(self) -> bool:
        try:
            await self._renew()
        except (Problem, RedisError, FlushFailed) as error:
            # Whoever Redis named as gone may not have been told of.
            self._owing = self._owing or isinstance(error, OutcomeUnknown)
            _log.warning("Redis cannot be told now who is on this node: %s", told(error))
            return False
        return True

    async def _renew(self) -> None:
        async with self._turn:
            count, *gone = await self._redis.run(RENEW, (self._key,), (self._node, self._stale))
            if gone and self._on_gone is not None:
                self._on_gone([user_id.decode() for user_id in gone])
            if count == self._known and not self._owing:
                return
            self._owing = False
            try:
                await self._tell_everybody()
            except BaseException:
                self._owing = True
                raise
        if self._on_restored is not None:
            self._on_restored()

    async def _tell_everybody(self) -> None:
        """Redis has forgotten some of them, or was not told that they have gone."""
        here = tuple(self._here)
        people, fresh = iter(here), f"{self._mine}:new"
        calls = [self._redis.call("DEL", fresh)]
        while chunk := list(islice(people, _CHUNK)):
            calls.append(self._redis.call("SADD", fresh, *chunk))
        if len(calls) > 1:
            # All of this leaves in one go: who arrives after it is told after it.
            calls.append(self._redis.call("RENAME", fresh, self._mine))
            calls.append(self._redis.call("PEXPIRE", self._mine, 4 * self._stale))
        else:
            calls.append(self._redis.call("DEL", self._mine))
        await asyncio.gather(*calls)
        self._known = len(here)
