"""Who sent this request? On the way of every request, so the usual answer costs a few dictionary look-ups."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from teahouse.accounts.activity import Activity
from teahouse.accounts.model import Admin, Caller
from teahouse.accounts.revocation_watch import OneProcess, RevocationWatch
from teahouse.accounts.revocations import Revocations
from teahouse.accounts.tokens_jwt import MAX_TOKEN_LENGTH, AccessTokens
from teahouse.clock import Clock
from teahouse.problems import AccessTokenExpired, AccessTokenInvalid, Forbidden, SessionEnded, Unauthorized

_SCHEME = b"bearer "
_GENERATION = 4096


class HasHeaders(Protocol):
    """The part of a request that is read here."""

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Raw values by lower-case name."""
        ...


class Authentication:
    """Turns the Authorization header into a ``Caller``.

    Verified tokens are remembered in two generations of at most ``generation`` each; when the young one is full the
    old one is dropped. A token is remembered only after full verification, and each request still checks that it has
    not run out and that its session has not been ended. While this node may have missed an end (``watch``), it asks
    where sessions are kept, at each request, and lets nobody through whom it cannot ask about.
    """

    def __init__(
        self,
        tokens: AccessTokens,
        revocations: Revocations,
        activity: Activity,
        *,
        clock: Clock,
        watch: RevocationWatch | None = None,
        generation: int = _GENERATION,
    ) -> None:
        self._tokens = tokens
        self._revocations = revocations
        self._activity = activity
        self._now = clock.now
        self._watch = watch or OneProcess()
        self._generation = generation
        self._young: dict[bytes, Caller] = {}
        self._old: dict[bytes, Caller] = {}

    def caller(self, request: HasHeaders) -> Caller | Coroutine[Any, Any, Caller]:
        """The request's caller: at once, or to be awaited where it has to be asked for; raises a 401 or 503 problem."""
        caller = self.check(request.headers.get(b"authorization"))
        return caller if self._watch.current else self.confirmed(caller)

    def admin(self, request: HasHeaders) -> Admin | Coroutine[Any, Any, Admin]:
        """The same for callers with the role ``admin``; raises ``Forbidden`` for others."""
        caller = self.check(request.headers.get(b"authorization"))
        return _admin(caller) if self._watch.current else self._confirmed_admin(caller)

    async def confirmed(self, caller: Caller) -> Caller:
        """The caller, whose session goes on as of now: asked, whatever this node has heard. Raises ``SessionEnded`` or
        a 503 problem.
        """
        if await self._watch.has_ended(caller.session_id):
            raise SessionEnded
        return caller

    async def _confirmed_admin(self, caller: Caller) -> Admin:
        return _admin(await self.confirmed(caller))

    def check(self, authorization: bytes | None) -> Caller:
        """The caller behind an Authorization header's raw value, as far as this node has heard; raises a 401 problem.

        Enough only while ``watch`` is current: ``caller`` and ``admin`` see to that.
        """
        if authorization is None:
            raise Unauthorized
        caller = self._young.get(authorization)
        if caller is None:
            caller = self._verified(authorization)
        now = self._now()
        if caller.expires_at <= now:
            raise AccessTokenExpired
        revocations = self._revocations
        if caller.session_id in revocations.ended:
            raise SessionEnded
        if caller.issued_at < revocations.not_before:
            raise AccessTokenExpired
        self._activity.note(caller.session_id, now)
        return caller

    @property
    def ends(self) -> int:
        """Rises whenever ``has_ended`` may have become true of somebody."""
        return self._revocations.changes

    def has_ended(self, caller: Caller) -> bool:
        """Whether this node has heard that the session of one who was let in before has ended since."""
        revocations = self._revocations
        return caller.session_id in revocations.ended or caller.issued_at < revocations.not_before

    @property
    def current(self) -> bool:
        """Whether ``check`` is enough: this node has heard of every session that ended up to a second ago."""
        return self._watch.current

    def _verified(self, authorization: bytes) -> Caller:
        caller = self._old.get(authorization)
        if caller is None:
            caller = self._tokens.verify(_bearer(authorization))
        if len(self._young) >= self._generation:
            self._young, self._old = {}, self._young
        self._young[authorization] = caller
        return caller


def _admin(caller: Caller) -> Admin:
    if caller.role != "admin":
        raise Forbidden
    return Admin(
        user_id=caller.user_id,
        session_id=caller.session_id,
        role=caller.role,
        issued_at=caller.issued_at,
        expires_at=caller.expires_at,
    )


def _bearer(authorization: bytes) -> str:
    if authorization[: len(_SCHEME)].lower() != _SCHEME:
        raise Unauthorized("The Authorization header must be: Bearer, a space, and the access token.")
    if len(authorization) > len(_SCHEME) + MAX_TOKEN_LENGTH:
        raise AccessTokenInvalid("The access token is longer than any that is issued here.")
    return authorization[len(_SCHEME) :].strip().decode("latin-1")
