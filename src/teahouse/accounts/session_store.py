"""Where sessions are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from teahouse.accounts.model import Session, User
from teahouse.accounts.refresh_tokens import RefreshToken
from teahouse.problems import Problem
from teahouse.wechat import WechatIdentity


class SignIn(NamedTuple):
    """Somebody who has proved who they are, and the session they are to get.

    ``user`` is who they are known to be. With an ``identity`` it is the account to be made where WeChat's user has
    none yet; the session then goes to whoever has it.
    """

    user: User
    session: Session
    identity: WechatIdentity | None = None


class SignedIn(NamedTuple):
    """Whose session it became, and the ids of the sessions that ended because of it."""

    user: User
    session: Session
    ended: list[str]


class Exchanged(NamedTuple):
    """A refresh token's successor, and whose it is."""

    user: User
    session: Session
    token: RefreshToken


class Exchange(NamedTuple):
    """What becomes of one presented refresh token: the session to be kept, if it changed, and the caller's answer."""

    session: Session | None
    answer: Exchanged | Problem


Decide = Callable[[RefreshToken, Session | None, User | None], Exchange]


class Ending(NamedTuple):
    """Sessions of one user that are to end: one, or all where ``session_id`` is None."""

    user_id: str
    session_id: str | None


class SessionStore(Protocol):
    """Sessions and what happens to them; moments are Unix milliseconds.

    What a method has returned has happened: every node finds it so from then on. In SQL each method is one transaction,
    on disk when it returns; nothing of it has happened when it raises ``DatabaseUnavailable`` (after a lost connection:
    unknown). In Redis each session changes in one step, and what survives a crash is what Redis has written down; where
    a method raises ``RedisUnavailable`` or ``OutcomeUnknown``, some of the batch may have happened. Either way asking
    again is safe and finishes it. The store serialises changes to one session, also between nodes.
    """

    async def sign_in(self, sign_ins: Sequence[SignIn], *, now: int, most: int) -> list[SignedIn | Problem]:
        """Opens sessions; one result for each, in order: ``SessionEnded`` where the user has been deleted meanwhile.

        A WeChat user seen for the first time gets an account, exactly one however many ask at once. Of a user's
        sessions only ``most`` stay, those used last.
        """
        ...

    async def exchange(self, tokens: Sequence[RefreshToken], decide: Decide) -> list[Exchanged | Problem]:
        """Judges each token with ``decide``, in order, and keeps what changed; nobody changes a session in between.

        Two tokens of one session are judged one after the other, the second with what the first has changed. Where
        somebody did change it, ``decide`` is asked again: it must do nothing but judge.
        """
        ...

    async def end(self, endings: Sequence[Ending], now: int) -> list[list[str]]:
        """Ends sessions; for each ending the ids of those that were still going on."""
        ...

    async def end_again(self, session_ids: Sequence[str], now: int) -> None:
        """Ends what this node knows to have ended, where the store has forgotten it: Redis may lose its last moment."""
        ...

    async def live(self, user_id: str, *, now: int, idle: int) -> list[Session]:
        """The user's sessions that go on, newest first."""
        ...

    async def ended_since(self, moment: int, now: int) -> dict[str, int]:
        """Sessions that ended after ``moment``, and when, by the clock that says ``now``; perhaps older ones too."""
        ...

    async def kept_since(self, now: int) -> int:
        """Since when every end has been kept, in Unix milliseconds; ``now`` where the store has lost all it had."""
        ...

    async def touch(self, seen: Mapping[str, int]) -> None:
        """Notes when sessions were last used; never moves one back. May be done in part when it raises."""
        ...

    async def sweep(self, *, ended_before: int, unseen_since: int, over_since: int) -> int:
        """Deletes a bounded number of sessions that ended or ran out before these moments; returns how many."""
        ...
