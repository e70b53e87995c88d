"""Sessions: opened by a sign-in, kept alive by use and refreshing, ended by their owner, by time or by a copied token.

What many ask at one moment leaves as one transaction (``batching.py``). A change is on disk before its answer, and
takes effect on this node in the same step, whether or not whoever asked is still there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import msgspec

from teahouse.accounts.activity import Activity
from teahouse.accounts.model import Limits, Method, Session, User, Verdict, device_label, judge
from teahouse.accounts.refresh_tokens import RefreshToken
from teahouse.accounts.revocations import Revocations
from teahouse.accounts.sealing_aesgcm import seal, unseal
from teahouse.accounts.session_store import Ending, Exchange, Exchanged, SessionStore, SignedIn, SignIn
from teahouse.accounts.tokens_jwt import AccessTokens
from teahouse.batching import Batcher, FlushFailed
from teahouse.clock import Clock
from teahouse.problems import (
    Problem,
    RefreshTokenInvalid,
    RefreshTokenReused,
    SessionEnded,
    SessionExpired,
)
from teahouse.settings import AccountsSettings
from teahouse.wechat import WechatIdentity

T = TypeVar("T")

_MAX_BATCH = 256
# How long after its session was found alive an access token may be issued, at most.
_IN_FLIGHT_MS = 60_000
_REFUSALS: Mapping[Verdict, type[Problem]] = {
    Verdict.REUSED: RefreshTokenReused,
    Verdict.ENDED: SessionEnded,
    Verdict.EXPIRED: SessionExpired,
    Verdict.UNKNOWN: RefreshTokenInvalid,
}


class Tokens(NamedTuple):
    """What a client gets for a login or a refresh; ``expires_in`` is the access token's life in seconds."""

    access: str
    refresh: str
    expires_in: int
    user: User

    def __repr__(self) -> str:
        return f"Tokens(user={self.user.id!r}, …)"


class Sessions:
    """Opens, refreshes, lists and ends sessions."""

    def __init__(
        self,
        store: SessionStore,
        tokens: AccessTokens,
        revocations: Revocations,
        activity: Activity,
        settings: AccountsSettings,
        *,
        clock: Clock,
    ) -> None:
        self._store = store
        self._most = settings.sessions_per_user
        self._tokens = tokens
        self._revocations = revocations
        self._activity = activity
        self._clock = clock
        self._access_seconds = max(1, int(settings.access_token_seconds))
        self._limits = Limits(
            idle=int(settings.session_idle_seconds * 1000),
            longest=int(settings.session_max_seconds * 1000),
            grace=int(settings.refresh_grace_seconds * 1000),
        )
        self._opening: Batcher[SignIn, SignedIn] = Batcher(self._open, name="sign-ins", max_batch=_MAX_BATCH)
        self._refreshing: Batcher[RefreshToken, Exchanged] = Batcher(
            self._exchange, name="refreshes", max_batch=_MAX_BATCH
        )
        self._ending: Batcher[Ending, list[str]] = Batcher(self._end, name="logouts", max_batch=_MAX_BATCH)

    @property
    def batchers(
        self,
    ) -> tuple[Batcher[SignIn, SignedIn], Batcher[RefreshToken, Exchanged], Batcher[Ending, list[str]]]:
        """For /metrics."""
        return self._opening, self._refreshing, self._ending

    async def open(
        self, user: User, *, method: Method, user_agent: str | None, identity: WechatIdentity | None = None
    ) -> Tokens:
        """A new session for ``user``, or for whoever ``identity`` belongs to; ``user`` is made where that is nobody.

        The user's sessions beyond the most that one may have end, those used longest ago first.
        """
        token = RefreshToken.first(self._clock.new_id())
        now = self._clock.now_ms()
        session = Session(
            id=token.session_id,
            user_id=user.id,
            method=method,
            device=device_label(user_agent),
            created_at=now,
            last_seen_at=now,
            ends_at=now + self._limits.longest,
            family_hash=token.hashes.family_hash,
            token_hash=token.hashes.token_hash,
        )
        signed_in = await _outcome(self._opening.submit(SignIn(user, session, identity)))
        return self._issue(signed_in.user, signed_in.session, token)

    async def refresh(self, text: str) -> Tokens:
        """The successor of a refresh token, and a new access token with the user's role as it is now.

        The token exchanged last gives the same successor again while its grace lasts. Raises
        ``RefreshTokenInvalid``, ``RefreshTokenReused`` (the session has been ended then), ``SessionEnded`` or
        ``SessionExpired``.
        """
        presented = RefreshToken.read(text)
        if presented is None:
            raise RefreshTokenInvalid
        exchanged = await _outcome(self._refreshing.submit(presented))
        return self._issue(exchanged.user, exchanged.session, exchanged.token)

    async def end(self, user_id: str, session_id: str) -> bool:
        """Ends one session of the user; False where it is not theirs or has ended before."""
        ended = await _outcome(self._ending.submit(Ending(user_id, session_id)))
        return bool(ended)

    async def end_all(self, user_id: str) -> int:
        """Ends every session of the user; returns how many there were."""
        ended = await _outcome(self._ending.submit(Ending(user_id, None)))
        return len(ended)

    async def live(self, user_id: str) -> list[Session]:
        """The user's sessions that go on, newest first, last seen as of now."""
        stored = await self._store.live(user_id, now=self._clock.now_ms(), idle=self._limits.idle)
        return [self._with_activity(session) for session in stored]

    async def restore(self) -> None:
        """At start, and after not having heard: sessions that ended while their access tokens are still good.

        What this node knows of and the store does not, the store is told: it may have lost its last moment. Where it
        has lost everything nobody can say which sessions had ended, so tokens of before are refused.
        """
        now = self._clock.now_ms()
        self._revocations.refuse_before(await self._store.kept_since(now) / 1000)
        since = now - self._access_seconds * 1000 - _IN_FLIGHT_MS
        ended = await self._store.ended_since(since, now)
        known = self._revocations.ended
        lost = [each for each, at in known.items() if at * 1000 > since and each not in ended]
        self._revocations.restore({each: at / 1000 for each, at in ended.items() if each not in known})
        if lost:
            await self._store.end_again(lost, now)

    def heard(self, session_id: str) -> None:
        """Another node says that the session has ended."""
        # From now on by this node's own clock, which judges its access tokens too.
        self._revocations.add(session_id, self._clock.now())

    async def write_activity(self) -> None:
        """Writes down when sessions were last used; what cannot be written waits for the next time."""
        seen = self._activity.take()
        try:
            await self._store.touch({session_id: int(at * 1000) for session_id, at in seen.items()})
        except BaseException:
            self._activity.put_back(seen)
            raise

    async def sweep(self, *, keep_seconds: float) -> int:
        """Deletes some of the sessions that have been over for ``keep_seconds``; returns how many."""
        before = self._clock.now_ms() - int(keep_seconds * 1000)
        return await self._store.sweep(ended_before=before, unseen_since=before - self._limits.idle, over_since=before)

    async def aclose(self) -> None:
        """Finishes what has been accepted, and writes down the last activity."""
        for batcher in self.batchers:
            await batcher.aclose()
        await self.write_activity()

    def _issue(self, user: User, session: Session, token: RefreshToken) -> Tokens:
        # An access token never outlives its session.
        left = (session.ends_at - self._clock.now_ms()) // 1000
        lives = max(1, min(self._access_seconds, left))
        access = self._tokens.issue(user_id=user.id, session_id=session.id, role=user.role, lives=lives)
        return Tokens(access, token.text, lives, user)

    async def _open(self, sign_ins: list[SignIn]) -> list[SignedIn | BaseException]:
        signed_in = await self._store.sign_in(sign_ins, now=self._clock.now_ms(), most=self._most)
        self._revoke([session_id for one in signed_in if isinstance(one, SignedIn) for session_id in one.ended])
        return list(signed_in)

    async def _exchange(self, tokens: list[RefreshToken]) -> list[Exchanged | BaseException]:
        answers = await self._store.exchange(tokens, self._decide)
        judged = zip(tokens, answers, strict=True)
        self._revoke([token.session_id for token, answer in judged if isinstance(answer, RefreshTokenReused)])
        return list(answers)

    async def _end(self, endings: list[Ending]) -> list[list[str] | BaseException]:
        ended = await self._store.end(endings, self._clock.now_ms())
        self._revoke([session_id for ids in ended for session_id in ids])
        return list(ended)

    def _decide(self, token: RefreshToken, session: Session | None, owner: User | None) -> Exchange:
        if session is None or owner is None:
            return Exchange(None, RefreshTokenInvalid())
        now = self._clock.now_ms()
        session = self._with_activity(session)
        verdict = judge(session, token.hashes, now, self._limits)
        if verdict is Verdict.ROTATE:
            return _rotated(session, token, owner, now)
        if verdict is Verdict.REPEAT:
            assert session.sealed_successor is not None
            return Exchange(None, Exchanged(owner, session, unseal(session.sealed_successor, under=token)))
        ended = msgspec.structs.replace(session, ended_at=now) if verdict is Verdict.REUSED else None
        return Exchange(ended, _REFUSALS[verdict]())

    def _with_activity(self, session: Session) -> Session:
        latest = max(session.last_seen_at, self._activity.latest_ms(session.id))
        return msgspec.structs.replace(session, last_seen_at=latest)

    def _revoke(self, session_ids: list[str]) -> None:
        now = self._clock.now()
        for session_id in session_ids:
            self._revocations.add(session_id, now)


def _rotated(session: Session, token: RefreshToken, owner: User, now: int) -> Exchange:
    successor = token.successor()
    kept = msgspec.structs.replace(
        session,
        last_seen_at=now,
        token_hash=successor.hashes.token_hash,
        previous_hash=session.token_hash,
        rotated_at=now,
        sealed_successor=seal(successor, under=token),
    )
    return Exchange(kept, Exchanged(owner, kept, successor))


async def _outcome(submitted: asyncio.Future[T]) -> T:
    """The call's own result; a flush that failed on an engine is that problem, for each caller anew."""
    try:
        return await submitted
    except FlushFailed as failure:
        if isinstance(failure.__cause__, Problem):
            raise type(failure.__cause__)(failure.__cause__.detail) from failure
        raise
