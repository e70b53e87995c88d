"""Nodes of one shop: each with a connection to Redis and a feed of its own, on one database and one Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from teahouse.accounts import Accounts
from teahouse.accounts.accounts_redis import accounts_on_redis
from teahouse.accounts.login import Device
from teahouse.accounts.sessions import Tokens
from teahouse.accounts.users_sql import UsersSql
from teahouse.clock import Clock
from teahouse.engines.redis import Redis
from teahouse.engines.redis_feed import Feed
from teahouse.engines.sql import Database
from teahouse.settings import AccountsSettings, Secret
from teahouse.wechat.sandbox import SandboxWechat
from teahouse.wechat.sandbox_codes_sql import SandboxCodesSql
from tests.accounts.conftest import CHEAP, SECRET

SETTINGS = AccountsSettings(argon2=CHEAP)
HERE = Device("192.0.2.1", "test")


@dataclass
class Node:
    """One process of the shop."""

    accounts: Accounts
    redis: Redis
    feed: Feed
    logins: int = 0

    async def log_in(self, name: str = "ada") -> Tokens:
        self.logins += 1
        return await self.accounts.login.wechat(f"sandbox-{name}-{id(self)}x{self.logins}", HERE)

    async def use(self, tokens: Tokens) -> str:
        """The session that a request with this access token belongs to, as a handler would see it."""
        request = Bearing(tokens.access)
        caller = self.accounts.authentication.caller(request)
        return (caller if hasattr(caller, "session_id") else await caller).session_id

    async def log_out(self, tokens: Tokens) -> bool:
        caller = self.accounts.authentication.check(Bearing(tokens.access).headers[b"authorization"])
        return await self.accounts.sessions.end(caller.user_id, caller.session_id)


class Bearing:
    """A request with an access token."""

    def __init__(self, access: str) -> None:
        self.headers = {b"authorization": f"Bearer {access}".encode()}


@asynccontextmanager
async def node_on(
    url: str,
    database: Database,
    *,
    clock: Clock | None = None,
    settings: AccountsSettings = SETTINGS,
    secrets: Sequence[Secret] = (SECRET,),
    hears: bool = True,
    timeout_seconds: float = 2.0,
) -> AsyncIterator[Node]:
    """A node that has started; with ``hears=False`` its feed has not."""
    clock = clock or Clock()
    redis = Redis(url, timeout_seconds=timeout_seconds)
    await redis.connect()
    feed = Feed(redis)
    platform = SandboxWechat(SandboxCodesSql(database), clock=clock)
    accounts = accounts_on_redis(redis, feed, UsersSql(database), platform, secrets, settings, clock=clock)
    try:
        await accounts.start()
        if hears:
            await feed.start()
        yield Node(accounts, redis, feed)
    finally:
        await feed.aclose()
        if redis.connected:
            await accounts.aclose()
        else:
            await accounts.housekeeping.aclose()
            accounts._passwords.close()
        await platform.aclose()
        await redis.aclose()
