"""One suite for every engine: a test here runs on SQLite, on MariaDB and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from teahouse.accounts import Accounts
from teahouse.engines.sql import Database
from teahouse.settings import AccountsSettings
from teahouse.wechat.sandbox import SandboxWechat
from teahouse.wechat.sandbox_codes_sql import SandboxCodesSql
from tests.accounts.conftest import CHEAP, SECRET, accounts_on
from tests.clocks import ManualClock
from tests.database_fixtures import database_url, mariadb_session, new_database_url, postgres_session
from tests.engines.cups import cups
from tests.redis_fixtures import redis_session, redis_shared
from tests.sales.shop import Shop, opened_shop

__all__ = ["database_url", "mariadb_session", "new_database_url", "postgres_session", "redis_session", "redis_shared"]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Every table of Teahouse, and the engine's own cups."""
    database = Database(database_url)
    await database.connect()
    await database.create_all()
    await database.write(cups.metadata.create_all)
    yield database
    await database.aclose()


@pytest.fixture
async def shop(tmp_path: Path, database_url: str) -> AsyncIterator[Shop]:
    async with opened_shop(tmp_path, database_url) as shop:
        yield shop


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


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
