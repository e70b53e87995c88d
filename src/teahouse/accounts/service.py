"""Accounts as one: login, sessions, profiles, and who sent a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from teahouse.accounts import names
from teahouse.accounts.activity import Activity
from teahouse.accounts.authentication import Authentication
from teahouse.accounts.housekeeping import Housekeeping, Sweep
from teahouse.accounts.login import Login
from teahouse.accounts.login_limits import LoginLimits
from teahouse.accounts.model import User
from teahouse.accounts.passwords_argon2 import Passwords
from teahouse.accounts.revocation_watch import OneProcess, RevocationWatch
from teahouse.accounts.revocations import Revocations
from teahouse.accounts.session_store import SessionStore
from teahouse.accounts.sessions import Sessions
from teahouse.accounts.throttle import Throttle
from teahouse.accounts.tokens_jwt import AccessTokens
from teahouse.accounts.user_store import UserStore
from teahouse.clock import Clock
from teahouse.problems import NotFound, SessionEnded
from teahouse.settings import AccountsSettings, Secret
from teahouse.wechat import WechatPlatform

# An access token may be issued a moment after its session was found alive, so an end is remembered a little longer.
MARGIN_SECONDS = 60.0


class Accounts:
    """Everything about who somebody is. ``secrets``: the secret keys, the one that signs first.

    ``watch`` knows whether this node hears of every session that ends. ``sweeps`` are deletions of other parts that are
    to run along with its own, once a minute; ``before_start`` runs first, and one that raises stops the start.
    """

    def __init__(
        self,
        users: UserStore,
        sessions: SessionStore,
        platform: WechatPlatform,
        secrets: Sequence[Secret],
        settings: AccountsSettings,
        *,
        throttle: Throttle,
        clock: Clock,
        watch: RevocationWatch | None = None,
        sweeps: Sequence[Sweep] = (),
        before_start: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        self.tokens = AccessTokens(
            [secret.reveal() for secret in secrets],
            algorithm=settings.algorithm,
            issuer=settings.issuer,
            audience=settings.audience,
            clock=clock,
        )
        activity = Activity()
        self.revocations = Revocations(settings.access_token_seconds + MARGIN_SECONDS)
        self.authentication = Authentication(
            self.tokens, self.revocations, activity, clock=clock, watch=watch or OneProcess()
        )
        self.sessions = Sessions(sessions, self.tokens, self.revocations, activity, settings, clock=clock)
        self._before_start = tuple(before_start)
        self._users = users
        self._passwords = Passwords(settings.argon2)
        limits = LoginLimits(throttle, settings)
        self.login = Login(self._users, self.sessions, self._passwords, platform, limits, clock=clock)
        self.housekeeping = Housekeeping(self.sessions, self.revocations, (self.login.sweep, *sweeps), clock=clock)

    async def start(self) -> None:
        """Call once, before the first request and after the migrations."""
        for hook in self._before_start:
            await hook()
        await self.sessions.restore()
        self.housekeeping.start()

    async def aclose(self) -> None:
        """Call after the last request: what was accepted is finished and written."""
        await self.housekeeping.aclose()
        try:
            await self.sessions.aclose()
        finally:
            self._passwords.close()

    async def me(self, user_id: str) -> User:
        """The caller's own account; raises ``SessionEnded`` where it has been deleted meanwhile."""
        user = await self._users.find(user_id)
        if user is None:
            raise SessionEnded("This account has been deleted.")
        return user

    async def change_me(self, user_id: str, *, nickname: str | None, avatar_url: str | None) -> User:
        """Changes what is not None; raises ``ValidationFailed``."""
        user = await self._users.change(
            user_id,
            nickname=None if nickname is None else names.nickname(nickname),
            avatar_url=None if avatar_url is None else names.avatar_url(avatar_url),
        )
        if user is None:
            raise SessionEnded("This account has been deleted.")
        return user

    async def user(self, user_id: str) -> User:
        """Anybody's account; raises ``NotFound``."""
        user = await self._users.find(user_id)
        if user is None:
            raise NotFound
        return user
