"""Where users are kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from teahouse.accounts.model import User
from teahouse.accounts.session_store import SignIn
from teahouse.problems import Problem


class Credentials(NamedTuple):
    """A user and the hash of the password they log in with."""

    user: User
    hash: str


class UserStore(Protocol):
    """Users and passwords; moments are Unix milliseconds.

    Each method is atomic: all of it is on disk when it returns, nothing of it when it raises ``DatabaseUnavailable``.
    """

    async def add(self, user: User, *, username: str, password_hash: str) -> None:
        """A new user with a username; raises ``UsernameTaken``, for all but one of those who ask at once."""
        ...

    async def credentials(self, key: str) -> Credentials | None:
        """Who logs in under the username whose key this is."""
        ...

    async def replace_hash(self, user_id: str, *, old: str, new: str) -> None:
        """The same password hashed anew; nothing happens where the password has changed meanwhile."""
        ...

    async def find(self, user_id: str) -> User | None:
        """The user with this id."""
        ...

    async def find_all(self, user_ids: Collection[str]) -> dict[str, User]:
        """Those of them that there are, by id."""
        ...

    async def owners(self, sign_ins: Sequence[SignIn], *, now: int) -> list[User | Problem]:
        """Whose each sign-in is, in order; for sessions that are kept elsewhere than users.

        A WeChat user seen for the first time gets an account, exactly one however many ask at once, also on several
        nodes. ``SessionEnded`` where the user has been deleted meanwhile.
        """
        ...

    async def exist(self) -> bool:
        """Whether there is any user at all."""
        ...

    async def change(self, user_id: str, *, nickname: str | None, avatar_url: str | None) -> User | None:
        """Sets what is not None; returns the user as it is then, None where there is none."""
        ...

    async def knows_network(self, key: str, network: str, *, since: int) -> bool:
        """True when the username's owner logged in from ``network`` after ``since``."""
        ...

    async def remember_network(self, user_id: str, network: str, now: int) -> None:
        """The password was right from ``network``; a user's oldest networks beyond a few are forgotten."""
        ...

    async def forget_networks(self, *, before: int) -> int:
        """Drops a bounded number of networks last seen ``before``; returns how many."""
        ...
