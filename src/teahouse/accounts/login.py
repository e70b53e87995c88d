"""Ways to log in: a WeChat code, a username and password; and how an account with a username comes about."""

from __future__ import annotations

from typing import NamedTuple

from teahouse.accounts import names
from teahouse.accounts.login_limits import LoginLimits
from teahouse.accounts.model import Role, User, network_of
from teahouse.accounts.passwords_argon2 import Passwords
from teahouse.accounts.sessions import Sessions, Tokens
from teahouse.accounts.user_store import Credentials, UserStore
from teahouse.clock import Clock
from teahouse.problems import BadCredentials, UsernameTaken, WechatCodeInvalid, WechatUserBlocked
from teahouse.settings import AccountsSettings
from teahouse.wechat import WechatPlatform

# What WeChat itself calls a user who has not said their name.
WECHAT_NICKNAME = "微信用户"

_DAY_MS = 24 * 3600 * 1000
_KNOWN_MS = 30 * _DAY_MS


class Device(NamedTuple):
    """Where a login comes from: the client's address, and the User-Agent it gives."""

    address: str
    user_agent: str | None = None


class Login:
    """Proves who somebody is, within the limits on failures, and opens a session for them."""

    def __init__(
        self,
        users: UserStore,
        sessions: Sessions,
        passwords: Passwords,
        platform: WechatPlatform,
        limits: LoginLimits,
        *,
        clock: Clock,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._passwords = passwords
        self._platform = platform
        self._limits = limits
        self._clock = clock

    async def wechat(self, code: str, device: Device) -> Tokens:
        """Logs in with a code from ``wx.login``; a user seen for the first time gets an account.

        Raises what ``WechatPlatform.exchange`` raises, and ``TooManyLogins``.
        """
        network = network_of(device.address)
        await self._limits.check_wechat(network)
        try:
            identity = await self._platform.exchange(code)
        except (WechatCodeInvalid, WechatUserBlocked):
            await self._limits.wechat_failed(network)
            raise
        newcomer = _new_user(self._clock, WECHAT_NICKNAME, "user")
        return await self._sessions.open(newcomer, method="wechat", user_agent=device.user_agent, identity=identity)

    async def register(self, username: str, password: str, device: Device) -> Tokens:
        """A new account; raises ``ValidationFailed``, ``UsernameTaken`` or ``TooManyRegistrations``."""
        await self._limits.count_registration(network_of(device.address))
        user = await _create(self._users, self._passwords, self._clock, username, password, "user")
        await self._users.remember_network(user.id, network_of(device.address), self._clock.now_ms())
        return await self._sessions.open(user, method="password", user_agent=device.user_agent)

    async def password(self, username: str, password: str, device: Device) -> Tokens:
        """Logs in with a username and password; raises ``BadCredentials`` or ``TooManyLogins``.

        Takes the same time whether or not the name exists.
        """
        network, key = network_of(device.address), names.username_key(username)
        await self._admit(network, key)
        async with self._passwords.turn():
            # Again, with what failed while this one waited.
            await self._admit(network, key)
            credentials = await self._users.credentials(key)
            secret = names.presented_password(password)
            if not await self._passwords.verify(credentials.hash if credentials else None, secret):
                await self._limits.password_failed(network, key)
                raise BadCredentials
            assert credentials is not None
            if self._passwords.outdated(credentials.hash):
                await self._rehash(credentials, secret)
        await self._remember(credentials.user, network, key)
        return await self._sessions.open(credentials.user, method="password", user_agent=device.user_agent)

    async def sweep(self) -> int:
        """Forgets some of the networks nobody has logged in from for 30 days; returns how many."""
        return await self._users.forget_networks(before=self._clock.now_ms() - _KNOWN_MS)

    async def _admit(self, network: str, key: str) -> None:
        """Raises ``TooManyLogins`` where the address or the name has used up its failures.

        Strangers can use up a name's failures as long as they like. Its owner still gets in from a place they logged
        in from within 30 days, where failures are counted for that place alone; and with WeChat, or with the session
        they have.
        """
        if await self._limits.check_password(network, key):
            return
        since = self._clock.now_ms() - _KNOWN_MS
        known = await self._users.knows_network(key, network, since=since)
        await self._limits.check_name(key, network if known else None)

    async def _rehash(self, credentials: Credentials, secret: bytes) -> None:
        fresh = await self._passwords.hash(secret)
        await self._users.replace_hash(credentials.user.id, old=credentials.hash, new=fresh)

    async def _remember(self, user: User, network: str, key: str) -> None:
        # One write a day and place is enough.
        now = self._clock.now_ms()
        if not await self._users.knows_network(key, network, since=now - _DAY_MS):
            await self._users.remember_network(user.id, network, now)


async def create_user(
    users: UserStore,
    clock: Clock,
    *,
    username: str,
    password: str,
    role: Role = "user",
    settings: AccountsSettings | None = None,
) -> User:
    """An account made by an operator, from any process: needs nothing that runs.

    Raises ``ValidationFailed``, ``UsernameTaken`` or ``DatabaseUnavailable``.
    """
    passwords = Passwords((settings or AccountsSettings()).argon2)
    try:
        return await _create(users, passwords, clock, username, password, role)
    finally:
        passwords.close()


async def _create(
    users: UserStore, passwords: Passwords, clock: Clock, username: str, password: str, role: Role
) -> User:
    name = names.username(username)
    secret = names.password(password, name=name)
    if await users.credentials(names.username_key(name)):
        # Saves the cost of a hash; two at the same moment are told apart when the second is added.
        raise UsernameTaken
    async with passwords.turn():
        password_hash = await passwords.hash(secret)
    user = _new_user(clock, name, role)
    await users.add(user, username=name, password_hash=password_hash)
    return user


def _new_user(clock: Clock, nickname: str, role: Role) -> User:
    return User(id=clock.new_id(), nickname=nickname, role=role, created_at=clock.now_ms())
