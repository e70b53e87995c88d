"""Password hashes: argon2id (RFC 9106) in threads, a few at a time, with a bounded queue."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from teahouse.problems import Overloaded
from teahouse.settings import Argon2Settings

T = TypeVar("T")

_SALT_BYTES = 16
_HASH_BYTES = 32
_LANES = 1


class Passwords:
    """Hashes and checks passwords without holding up the event loop.

    ``settings.threads`` run at once and ``settings.max_waiting`` wait; one more is answered ``Overloaded``.
    """

    def __init__(self, settings: Argon2Settings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.passes,
            memory_cost=settings.memory_kib,
            parallelism=_LANES,
            hash_len=_HASH_BYTES,
            salt_len=_SALT_BYTES,
        )
        self._nobody = _unmatchable(settings)
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="argon2")
        self._slots = asyncio.Semaphore(settings.threads)
        self._max_waiting = settings.max_waiting
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a free thread and keeps it for the block; raises ``Overloaded`` when too many wait.

        What must be decided with fresh knowledge, such as a limit on failures, is decided inside the block: at most
        as many passwords are tried beyond a limit as there are threads, however many arrive at once.
        """
        if self._waiting >= self._max_waiting:
            raise Overloaded(f"{self._max_waiting} passwords are waiting to be checked already")
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    async def hash(self, password: bytes) -> str:
        """The encoded hash, parameters and a fresh salt included. Call it in a ``turn``."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, stored: str | None, password: bytes) -> bool:
        """True when ``password`` is the one behind ``stored``. Call it in a ``turn``.

        None stands for an account that does not exist: it costs the same and is never right.
        """
        return await self._run(lambda: self._matches(stored or self._nobody, password)) and stored is not None

    def outdated(self, stored: str) -> bool:
        """True when the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """Lets the threads go; a hash under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, stored: str, password: bytes) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except VerifyMismatchError:
            return False
        except (InvalidHashError, VerificationError) as error:
            raise RuntimeError("a stored password hash cannot be read") from error

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _unmatchable(settings: Argon2Settings) -> str:
    """A hash with today's cost that no password has: random bytes where the digest would be."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(size)).rstrip(b"=").decode("ascii") for size in (_SALT_BYTES, _HASH_BYTES)
    )
    return f"$argon2id$v=19$m={settings.memory_kib},t={settings.passes},p={_LANES}${salt}${digest}"
