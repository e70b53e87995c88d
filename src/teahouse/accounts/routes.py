"""Accounts over HTTP: from requests to the service and back, no rules."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from teahouse.accounts import names
from teahouse.accounts.login import Device
from teahouse.accounts.model import Admin, Caller, Role, Session, User
from teahouse.accounts.service import Accounts
from teahouse.accounts.sessions import Tokens
from teahouse.clock import to_datetime
from teahouse.problems import (
    AccessTokenExpired,
    AccessTokenInvalid,
    BadCredentials,
    DatabaseUnavailable,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    PasswordTooEasy,
    RedisUnavailable,
    RefreshTokenInvalid,
    RefreshTokenReused,
    SessionEnded,
    SessionExpired,
    ShuttingDown,
    TooManyLogins,
    TooManyRegistrations,
    Unauthorized,
    UsernameTaken,
    WechatCodeInvalid,
    WechatTooFrequent,
    WechatUnavailable,
    WechatUserBlocked,
)
from teahouse.web import App, Request

Id = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
# Checked by names.py, which says what is wrong in better words than a pattern.
Username = Annotated[str, Meta(extra_json_schema={"pattern": names.USERNAME, "minLength": 2, "maxLength": 64})]
Nickname = Annotated[str, Meta(extra_json_schema={"pattern": names.NICKNAME, "minLength": 1, "maxLength": 64})]
AvatarUrl = Annotated[str, Meta(extra_json_schema={"pattern": names.AVATAR_URL, "maxLength": names.AVATAR_URL_LENGTH})]

_AUTH = ("auth",)
_USERS = ("users",)
# RFC 6749 §5.1
_NOT_STORED = {"Cache-Control": "no-store"}
_BUSY = (DatabaseUnavailable, RedisUnavailable, OutcomeUnknown, Overloaded, ShuttingDown)
_TOKEN_PROBLEMS = (
    Unauthorized,
    AccessTokenInvalid,
    AccessTokenExpired,
    SessionEnded,
    RedisUnavailable,
    OutcomeUnknown,
    Overloaded,
)


class WechatLogin(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The code that ``wx.login`` gave the mini-program."""

    code: Annotated[str, Meta(min_length=1, max_length=256)]


class Registration(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A username and a password; a name in another case is the same name."""

    username: Username
    password: Annotated[str, Meta(min_length=names.PASSWORD_LENGTHS[0], max_length=names.PASSWORD_LENGTHS[1])]


class PasswordLogin(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A username, in upper or lower case, and its password."""

    username: Annotated[str, Meta(min_length=1, max_length=256)]
    password: Annotated[str, Meta(min_length=1, max_length=1024)]


class Refresh(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The refresh token that came with the latest login or refresh."""

    refresh_token: Annotated[str, Meta(min_length=1, max_length=512)]


class ProfileChange(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What is left out stays as it is; an empty ``avatarUrl`` takes the picture away."""

    nickname: Nickname | None = None
    avatar_url: AvatarUrl | None = None


class UserView(msgspec.Struct, rename="camel"):
    """An account as its owner sees it; ``avatarUrl`` is empty where there is no picture."""

    id: str
    nickname: str
    avatar_url: str
    role: Role
    created_at: datetime


class PublicUserView(msgspec.Struct, rename="camel"):
    """An account as others see it; ``role`` and ``createdAt`` only for its owner and for admins."""

    id: str
    nickname: str
    avatar_url: str
    role: Role | UnsetType = UNSET
    created_at: datetime | UnsetType = UNSET


class TokensView(msgspec.Struct, rename="camel"):
    """A pair of tokens. ``expiresIn`` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int
    user: UserView
    token_type: str = "Bearer"  # noqa: S105 — the scheme, not a secret


class SessionView(msgspec.Struct, rename="camel"):
    """One device that is logged in; ``current`` is the one that asks."""

    id: str
    device: str
    created_at: datetime
    last_seen_at: datetime
    current: bool


class SessionsView(msgspec.Struct, rename="camel"):
    """Every device; ``nextCursor`` is always null, as there are never many."""

    items: list[SessionView]
    next_cursor: str | None = None


class KeySetView(msgspec.Struct):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, str]]


def install(app: App, accounts: Accounts) -> None:
    """Registers the routes, and lets handlers ask for a ``Caller`` or an ``Admin``."""
    authentication = accounts.authentication
    app.provide(Caller, authentication.caller, security="bearer", problems=_TOKEN_PROBLEMS)
    app.provide(Admin, authentication.admin, security="bearer", problems=(*_TOKEN_PROBLEMS, Forbidden))
    app.security_schemes["bearer"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    _install_logins(app, accounts)
    _install_sessions(app, accounts)
    _install_profiles(app, accounts)


def _install_logins(app: App, accounts: Accounts) -> None:
    @app.post(
        "/v1/auth/wechat",
        headers=_NOT_STORED,
        tags=_AUTH,
        problems=(WechatCodeInvalid, WechatUserBlocked, WechatTooFrequent, WechatUnavailable, TooManyLogins, *_BUSY),
    )
    async def log_in_with_wechat(body: WechatLogin, request: Request) -> TokensView:
        """Log in with a code from wx.login; the first time makes an account."""
        return _tokens(await accounts.login.wechat(body.code, _device(request)))

    @app.post(
        "/v1/auth/register",
        headers=_NOT_STORED,
        status=201,
        tags=_AUTH,
        problems=(UsernameTaken, PasswordTooEasy, TooManyRegistrations, *_BUSY),
    )
    async def register(body: Registration, request: Request) -> TokensView:
        """Make an account with a username and password, and log in."""
        return _tokens(await accounts.login.register(body.username, body.password, _device(request)))

    @app.post(
        "/v1/auth/password",
        headers=_NOT_STORED,
        tags=_AUTH,
        problems=(BadCredentials, TooManyLogins, *_BUSY),
    )
    async def log_in_with_password(body: PasswordLogin, request: Request) -> TokensView:
        """Log in with a username and password."""
        return _tokens(await accounts.login.password(body.username, body.password, _device(request)))


def _install_sessions(app: App, accounts: Accounts) -> None:
    @app.post(
        "/v1/auth/refresh",
        headers=_NOT_STORED,
        tags=_AUTH,
        problems=(RefreshTokenInvalid, RefreshTokenReused, SessionEnded, SessionExpired, *_BUSY),
    )
    async def refresh(body: Refresh) -> TokensView:
        """Exchange a refresh token for a new pair; it can be exchanged once."""
        return _tokens(await accounts.sessions.refresh(body.refresh_token))

    @app.post("/v1/auth/logout", status=204, tags=_AUTH, problems=_BUSY)
    async def log_out(caller: Caller, everywhere: bool = False) -> None:  # noqa: FBT001, FBT002 — a query field
        """End this session, or with everywhere=true all of the caller's."""
        if everywhere:
            await accounts.sessions.end_all(caller.user_id)
        else:
            await accounts.sessions.end(caller.user_id, caller.session_id)

    @app.get("/v1/auth/sessions", tags=_AUTH, problems=(DatabaseUnavailable,))
    async def list_sessions(caller: Caller) -> SessionsView:
        """The caller's devices, the latest login first."""
        live = await accounts.sessions.live(caller.user_id)
        return SessionsView([_session(session, caller) for session in live])

    @app.delete("/v1/auth/sessions/{id}", status=204, tags=_AUTH, problems=(NotFound, *_BUSY))
    async def end_session(caller: Caller, id: Id) -> None:  # noqa: A002 — the path's name
        """Log one of the caller's devices out."""
        if not await accounts.sessions.end(caller.user_id, id):
            raise NotFound

    @app.get("/v1/auth/jwks.json", tags=_AUTH)
    def key_set() -> KeySetView:
        """The public keys of access tokens; empty while the algorithm is symmetric."""
        return KeySetView(accounts.tokens.public_keys())


def _install_profiles(app: App, accounts: Accounts) -> None:
    @app.get("/v1/me", tags=_USERS, problems=(DatabaseUnavailable,))
    async def me(caller: Caller) -> UserView:
        """The caller's own account."""
        return _user(await accounts.me(caller.user_id))

    @app.put("/v1/me", tags=_USERS, problems=(DatabaseUnavailable,))
    async def change_me(caller: Caller, body: ProfileChange) -> UserView:
        """Change the caller's nickname or picture."""
        changed = await accounts.change_me(caller.user_id, nickname=body.nickname, avatar_url=body.avatar_url)
        return _user(changed)

    @app.get("/v1/users/{id}", tags=_USERS, problems=(NotFound, DatabaseUnavailable))
    async def user(caller: Caller, id: Id) -> PublicUserView:  # noqa: A002 — the path's name
        """The public part of anybody's account."""
        found = await accounts.user(id)
        view = PublicUserView(found.id, found.nickname, found.avatar_url)
        if caller.user_id == found.id or caller.role == "admin":
            view.role, view.created_at = found.role, to_datetime(found.created_at)
        return view


def _device(request: Request) -> Device:
    return Device(request.client_address, request.header("user-agent"))


def _user(user: User) -> UserView:
    return UserView(user.id, user.nickname, user.avatar_url, user.role, to_datetime(user.created_at))


def _tokens(tokens: Tokens) -> TokensView:
    return TokensView(tokens.access, tokens.refresh, tokens.expires_in, _user(tokens.user))


def _session(session: Session, caller: Caller) -> SessionView:
    return SessionView(
        session.id,
        session.device,
        to_datetime(session.created_at),
        to_datetime(session.last_seen_at),
        current=session.id == caller.session_id,
    )
