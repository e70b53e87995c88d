"""Reads through the layers. What it promises, and how old an answer may be, is told at ``Cache``."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar

import msgspec

from teahouse.batching import Batcher, FlushFailed
from teahouse.caching.changes import Changes
from teahouse.caching.local import MISSING, LocalLayer, Missing
from teahouse.caching.shared import BRIEF_SECONDS, Held, SharedLayer, Times
from teahouse.clock import Clock

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

_MAX_WAITING = 10_000
_MAX_KEY = 128


class Loader(Protocol[V_co]):
    """Reads the truth: one value for each key, None where there is none; ``fresh``: not from a replica that may lag."""

    async def __call__(self, keys: Sequence[str], /, *, fresh: bool) -> Sequence[V_co | None]:
        """Raises what it likes: each waiter gets it."""
        ...


class _Answer(msgspec.Struct, Generic[V], frozen=True):
    value: V | Missing
    layer: str
    trusted_until: float
    expires_at: float


class _Load(Generic[V]):
    """One key on its way, and who waits for it."""

    __slots__ = ("began", "discarded", "key", "waiters")

    def __init__(self, key: str) -> None:
        self.key = key
        self.began: float | None = None
        self.waiters: list[asyncio.Future[V | Missing]] = []
        self.discarded = False


class Cache(Generic[V]):
    """A read-through cache: this process's memory, over what all nodes share, over the loader.

    ``cached`` answers at once, ``get`` loads where that is needed. What is not known is loaded together, each key once
    however many wait for it. At most ``max_entries`` entries and ``max_weight`` bytes, as ``weigh`` guesses them, stay
    in this process; at most 10,000 keys wait to be loaded: one more is answered ``Overloaded``. Keys are printable
    ASCII, up to 128 characters; what is asked for under anything else is loaded each time.

    **How old may an answer be?** At most as old as stated here, counted from the end of ``invalidate``. An entry's age
    counts from before it was read, through every layer, and ends after ``Times.seconds``.

    - One process without a shared layer: not at all. The entry is gone, and a load that had begun is not remembered.
    - Another node that hears: until the message arrives, which takes milliseconds. One that does not: 1 s, as no entry
      is trusted longer by a node that does not hear; when it hears again, it begins with nothing.
    - A load that had begun, wherever: nothing of it is remembered. Each node marks its own when the message comes; in
      the shared layer its lease is gone, replaced by a *tombstone*.
    - A replica that lags: not at all. For ``Times.changing_seconds`` the tombstone sends every load to the primary, and
      what comes from there is not shared. That something does *not* exist is never a replica's word.
    - A node killed between its commit and ``invalidate``: 1 s, where the write stood within ``changing``. Its first
      tombstone stands since before the write, and what is read meanwhile lives 1 s. The write and the replica's lag
      together must be shorter than ``changing_seconds``.
    - Redis restarted or replaced by another, with or without its last seconds: 1 s. Entries name the run of the server
      that took them; and after each catch-up all loads go to the primary for ``changing_seconds``.
    - A writer alone cut off from Redis, which the others reach: at most ``Times.seconds`` and the replica's lag. It
      tries to tell again and again, and itself reads from the primary. The same bound holds where somebody empties
      Redis by hand, or where two servers believe that they are the primary.

    A shared layer that is out of reach is skipped: loads go to the primary, and entries live 1 s.

    **When the loader fails**, every waiter gets its error, and nothing of it is remembered. With
    ``Times.stale_if_error_seconds`` an entry that ran out up to so long ago is given instead (RFC 5861). That is off: a
    shop that shows yesterday's price as today's is worse than one that answers 503 and Retry-After. It is for what may
    be old, such as an article. What was changed is dropped, and does not come back that way either.
    """

    def __init__(
        self,
        load: Loader[V],
        *,
        name: str,
        clock: Clock,
        shared: SharedLayer[V] | None = None,
        times: Times | None = None,
        max_entries: int = 10_000,
        max_weight: int = 8 << 20,
        weigh: Callable[[V], int] = lambda _: 1,
    ) -> None:
        self.name = name
        self.times = times or Times()
        self.invalidations = 0
        self.batcher: Batcher[_Load[V], _Answer[V]] = Batcher(
            self._answers, name=f"cache {name}", max_waiting=_MAX_WAITING
        )
        self.local: LocalLayer[V] = LocalLayer(
            now=clock.monotonic,
            hearing=_always if shared is None else shared.hearing,
            max_entries=max_entries,
            max_weight=max_weight,
            weigh=weigh,
        )
        self.changes = Changes(
            shared, name=name, seconds=self.times.changing_seconds, most=max_entries, now=clock.monotonic
        )
        self._read_truth = load
        self._shared = shared
        self._now = clock.monotonic
        self._trusted_seconds = self.times.seconds if shared is None else min(self.times.seconds, BRIEF_SECONDS)
        self._loading: dict[str, _Load[V]] = {}
        if shared is not None:
            shared.listen(self._drop, self._clear)

    # --- reading ---

    def cached(self, key: str) -> V | Missing | None:
        """What is known in this process, ``MISSING`` where there is nothing behind the key; None: ``get`` must load."""
        return self.local.read(key)

    async def get(self, key: str) -> V | None:
        """What is behind the key, None where there is nothing. Raises what the loader raises, and ``Overloaded``."""
        found = self.local.read(key)
        if found is None:
            if not _is_plain(key):
                return (await self._read_truth([key], fresh=True))[0]
            found = await self._join(key)
        return None if found is MISSING else found

    def _join(self, key: str) -> asyncio.Future[V | Missing]:
        load = self._loading.get(key)
        if load is None or self._too_old(load):
            load = self._begin(key)
        # A future for each waiter: one that is cancelled takes nothing from the others.
        waiter: asyncio.Future[V | Missing] = asyncio.get_running_loop().create_future()
        load.waiters.append(waiter)
        return waiter

    def _too_old(self, load: _Load[V]) -> bool:
        """Whether its answer may be older than was promised to one who comes now."""
        if load.began is None or self._now() < load.began + self._trusted_seconds:
            return False
        # Once another takes its place, changes do not find it.
        load.discarded = True
        return True

    def _begin(self, key: str) -> _Load[V]:
        load: _Load[V] = _Load(key)
        self.batcher.submit(load).add_done_callback(lambda done: self._settle(load, done))
        self._loading[key] = load
        return load

    def _settle(self, load: _Load[V], done: asyncio.Future[_Answer[V]]) -> None:
        # Up to this moment a change finds the load under its key, and marks it.
        if self._loading.get(load.key) is load:
            del self._loading[load.key]
        waiters = [waiter for waiter in load.waiters if not waiter.done()]
        if done.cancelled():
            for waiter in waiters:
                waiter.cancel()
        elif (error := done.exception()) is not None:
            self._fail(load, waiters, error)
        else:
            self._succeed(load, waiters, done.result())

    def _succeed(self, load: _Load[V], waiters: list[asyncio.Future[V | Missing]], answer: _Answer[V]) -> None:
        if not load.discarded:
            self.local.put(load.key, answer.value, trusted_until=answer.trusted_until, expires_at=answer.expires_at)
        self.local.reads[answer.layer] += len(waiters)
        for waiter in waiters:
            waiter.set_result(answer.value)

    def _fail(self, load: _Load[V], waiters: list[asyncio.Future[V | Missing]], error: BaseException) -> None:
        seconds = self.times.stale_if_error_seconds
        stale = self.local.outdated(load.key, seconds) if seconds and not load.discarded else None
        for waiter in waiters:
            if stale is None:
                waiter.set_exception(_twin(error))
            else:
                waiter.set_result(stale)

    # --- loading: one batch ---

    async def _answers(self, loads: list[_Load[V]]) -> Sequence[_Answer[V] | BaseException]:
        began = self._now()
        for load in loads:
            load.began = began
        # The same key twice: the first was discarded, or is too old to be joined.
        held = await self._ask_shared(list(dict.fromkeys(load.key for load in loads)))
        found = await self._load([key for key, entry in held.items() if entry.value is None], held)
        answers: dict[str, _Answer[V] | BaseException] = {}
        for key, entry in held.items():
            if entry.value is None:
                answers[key] = self._loaded(key, found[key], entry.lease, began)
            else:
                layer = "negative" if entry.value is MISSING else "shared"
                answers[key] = self._answer(entry.value, layer, began, min(entry.seconds, self._life(entry.value)))
        return [answers[load.key] for load in loads]

    async def _ask_shared(self, keys: list[str]) -> dict[str, Held[V]]:
        held: dict[str, Held[V]] = {key: Held() for key in keys}
        asked = [key for key in keys if key not in self.changes]
        if self._shared is not None and asked:
            held.update(zip(asked, await self._shared.read(asked), strict=True))
        return held

    async def _load(self, keys: list[str], held: dict[str, Held[V]]) -> dict[str, V | BaseException | None]:
        if self._shared is None:
            lagging = [key for key in keys if key not in self.changes]
        else:
            lagging = [key for key in keys if held[key].lease is not None]
        found = await self._try(lagging, fresh=False)
        # What another node has only just made may not have reached the replica.
        doubtful = [key for key in keys if key not in found or (found[key] is None and self._shared is not None)]
        return found | await self._try(doubtful, fresh=True)

    async def _try(self, keys: list[str], *, fresh: bool) -> dict[str, V | BaseException | None]:
        if not keys:
            return {}
        try:
            return dict(zip(keys, await self._read_truth(keys, fresh=fresh), strict=True))
        except Exception as error:  # noqa: BLE001  # whatever it is, each waiter gets it
            return dict.fromkeys(keys, error)

    def _loaded(
        self, key: str, value: V | BaseException | None, lease: bytes | None, began: float
    ) -> _Answer[V] | BaseException:
        if isinstance(value, BaseException):
            return value
        known: V | Missing = MISSING if value is None else value
        seconds = self._life(known)
        if self._shared is not None and lease is not None:
            self._shared.fill(key, lease, known, seconds)
        elif self._shared is not None:
            # A write may be about to commit; should its node die then, nobody tells.
            seconds = min(seconds, BRIEF_SECONDS)
        return self._answer(known, "loaded", began, seconds)

    def _life(self, value: V | Missing) -> float:
        seconds = self.times.negative_seconds if value is MISSING else self.times.seconds
        return seconds * (1 - self.times.jitter * random.random())  # noqa: S311  # no secret

    def _answer(self, value: V | Missing, layer: str, began: float, seconds: float) -> _Answer[V]:
        return _Answer(value, layer, began + min(seconds, self._trusted_seconds), began + seconds)

    # --- changes ---

    async def invalidate(self, key: str) -> None:
        """Call when the write is committed: this node forgets the key, and the others are told.

        Where they cannot be told, it returns all the same, and they are told as soon as that is possible. A caller who
        is cancelled does not stop it.
        """
        if _is_plain(key):
            self.invalidations += 1
            self._drop(key)
            await self.changes.tell(key)

    @asynccontextmanager
    async def changing(self, key: str) -> AsyncIterator[None]:
        """Around a write: the key is forgotten before, in case this node dies, and after, however the write ended."""
        await self.invalidate(key)
        try:
            yield
        finally:
            await self.invalidate(key)

    async def aclose(self) -> None:
        """Finishes what was accepted; reads that need a load are answered ``ShuttingDown`` from now on."""
        await self.batcher.aclose()
        await self.changes.aclose()
        if self._shared is not None:
            await self._shared.aclose()

    def _drop(self, key: str) -> None:
        self.changes.note(key)
        self.local.drop(key)
        load = self._loading.pop(key, None)
        if load is not None:
            load.discarded = True

    def _clear(self) -> None:
        self.changes.note_all()
        self.local.clear()
        for load in self._loading.values():
            load.discarded = True
        self._loading.clear()


def _is_plain(key: str) -> bool:
    # A caller may ask for anything: neither memory nor what is sent on must be theirs to choose.
    return len(key) <= _MAX_KEY and key.isascii() and key.isprintable()


def _always() -> bool:
    return True


def _twin(error: BaseException) -> BaseException:
    """The same error again: one that several callers raised would gather all their tracebacks."""
    try:
        twin: BaseException = type(error).__new__(type(error), *error.args)
        twin.__dict__.update(error.__dict__)
    except (TypeError, AttributeError):
        twin = FlushFailed(str(error))
    twin.__cause__ = error
    return twin
