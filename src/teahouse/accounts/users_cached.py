"""Users through a cache. Passwords, and what else people log in by, are never in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from teahouse.accounts.model import User
from teahouse.accounts.session_store import SignIn
from teahouse.accounts.user_store import Credentials, UserStore
from teahouse.caching import Cache
from teahouse.problems import Problem


def weigh_user(user: User) -> int:
    """Bytes that a user takes in memory, roughly and rather too many."""
    return 500 + 4 * len(user.nickname) + len(user.avatar_url)


class UsersCached:
    """A ``UserStore`` whose ``find`` answers from ``cache``, as old as that promises; the rest is the store's."""

    def __init__(self, users: UserStore, cache: Cache[User]) -> None:
        self._users = users
        self._cache = cache

    async def find(self, user_id: str) -> User | None:
        """See ``UserStore``."""
        return await self._cache.get(user_id)

    async def add(self, user: User, *, username: str, password_hash: str) -> None:
        """See ``UserStore``."""
        await self._users.add(user, username=username, password_hash=password_hash)
        # Somebody may have asked for it a moment too early.
        await self._cache.invalidate(user.id)

    async def exist(self) -> bool:
        """See ``UserStore``."""
        return await self._users.exist()

    async def change(self, user_id: str, *, nickname: str | None, avatar_url: str | None) -> User | None:
        """See ``UserStore``."""
        async with self._cache.changing(user_id):
            return await self._users.change(user_id, nickname=nickname, avatar_url=avatar_url)

    async def find_all(self, user_ids: Collection[str]) -> dict[str, User]:
        """See ``UserStore``: what decides about tokens is read anew."""
        return await self._users.find_all(user_ids)

    async def owners(self, sign_ins: Sequence[SignIn], *, now: int) -> list[User | Problem]:
        """See ``UserStore``."""
        return await self._users.owners(sign_ins, now=now)

    async def credentials(self, key: str) -> Credentials | None:
        """See ``UserStore``."""
        return await self._users.credentials(key)

    async def replace_hash(self, user_id: str, *, old: str, new: str) -> None:
        """See ``UserStore``."""
        await self._users.replace_hash(user_id, old=old, new=new)

    async def knows_network(self, key: str, network: str, *, since: int) -> bool:
        """See ``UserStore``."""
        return await self._users.knows_network(key, network, since=since)

    async def remember_network(self, user_id: str, network: str, now: int) -> None:
        """See ``UserStore``."""
        await self._users.remember_network(user_id, network, now)

    async def forget_networks(self, *, before: int) -> int:
        """See ``UserStore``."""
        return await self._users.forget_networks(before=before)
