"""Accounts on a SQL database: for the composition root, and for commands that run beside a server."""

from __future__ import annotations

from collections.abc import Sequence

from teahouse.accounts import login
from teahouse.accounts.housekeeping import Sweep
from teahouse.accounts.model import Role, User
from teahouse.accounts.service import Accounts
from teahouse.accounts.sessions_sql import SessionsSql
from teahouse.accounts.throttle import Throttle
from teahouse.accounts.user_store import UserStore
from teahouse.accounts.users_sql import UsersSql
from teahouse.clock import Clock
from teahouse.engines.sql import Database
from teahouse.settings import AccountsSettings, Secret
from teahouse.wechat import WechatPlatform


def accounts_on(
    database: Database,
    platform: WechatPlatform,
    secrets: Sequence[Secret],
    settings: AccountsSettings,
    *,
    throttle: Throttle,
    clock: Clock,
    sweeps: Sequence[Sweep] = (),
    users: UserStore | None = None,
) -> Accounts:
    """``Accounts`` that keeps users (where ``users`` does not) and sessions in ``database``; for one process."""
    return Accounts(
        users or UsersSql(database),
        SessionsSql(database),
        platform,
        secrets,
        settings,
        throttle=throttle,
        clock=clock,
        sweeps=sweeps,
    )


async def create_user(
    database: Database,
    clock: Clock,
    *,
    username: str,
    password: str,
    role: Role = "user",
    settings: AccountsSettings | None = None,
) -> User:
    """An account made by an operator, from any process; what it raises is told at ``login.create_user``."""
    return await login.create_user(
        UsersSql(database), clock, username=username, password=password, role=role, settings=settings
    )
