"""Accounts on a database of their own, a clock that stands still, and the sandbox in WeChat's place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from teahouse.accounts import Accounts, accounts_sql, install
from teahouse.accounts.throttle_memory import ThrottleMemory
from teahouse.engines.sql import Database
from teahouse.settings import AccountsSettings, Argon2Settings, Secret
from teahouse.web import App, TestClient
from teahouse.wechat.sandbox import SandboxWechat
from teahouse.wechat.sandbox_codes_sql import SandboxCodesSql
from tests.clocks import ManualClock
from tests.redis_fixtures import redis_alone, redis_session, redis_shared

__all__ = ["redis_alone", "redis_session", "redis_shared"]

SECRET = Secret("the first secret key of the tests, long enough")
# Hashes that cost next to nothing.
CHEAP = Argon2Settings(memory_kib=8, passes=1)


def accounts_on(database, platform, secrets, settings, *, clock) -> Accounts:
    """Accounts of one process."""
    return accounts_sql.accounts_on(
        database, platform, secrets, settings, throttle=ThrottleMemory(clock=clock), clock=clock
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'teahouse.db'}")
    await database.connect()
    await database.create_all()
    yield database
    await database.aclose()


@pytest.fixture
def settings() -> AccountsSettings:
    return AccountsSettings(argon2=CHEAP)


@pytest.fixture
async def platform(database: Database, clock: ManualClock) -> AsyncIterator[SandboxWechat]:
    sandbox = SandboxWechat(SandboxCodesSql(database), clock=clock)
    yield sandbox
    await sandbox.aclose()


@pytest.fixture
async def accounts(
    database: Database, platform: SandboxWechat, settings: AccountsSettings, clock: ManualClock
) -> AsyncIterator[Accounts]:
    accounts = accounts_on(database, platform, [SECRET], settings, clock=clock)
    await accounts.start()
    yield accounts
    await accounts.aclose()


@pytest.fixture
async def client(accounts: Accounts) -> AsyncIterator[TestClient]:
    app = App()
    install(app, accounts)
    async with TestClient(app) as client:
        yield client
