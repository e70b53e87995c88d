"""The same model of refreshing against sessions in Redis, where a restart moves to another node."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import rule

from teahouse.accounts.accounts_redis import accounts_on_redis
from teahouse.accounts.users_sql import UsersSql
from teahouse.engines.redis import Redis
from teahouse.engines.redis_feed import Feed
from teahouse.engines.sql import Database
from teahouse.wechat.sandbox import SandboxWechat
from teahouse.wechat.sandbox_codes_sql import SandboxCodesSql
from tests.accounts.conftest import SECRET
from tests.accounts.test_refresh_rotation import SETTINGS, RefreshRotation
from tests.redis_servers import RedisServer


class RefreshRotationInRedis(RefreshRotation):
    server: RedisServer

    async def start(self, *, fresh: bool = False) -> None:
        self.database = Database(f"sqlite:///{self.folder / 'teahouse.db'}")
        await self.database.connect()
        if fresh:
            await self.database.create_all()
            self.server.cli("FLUSHALL")
        self.redis = Redis(self.server.url)
        await self.redis.connect()
        self.feed = Feed(self.redis)
        self.platform = SandboxWechat(SandboxCodesSql(self.database), clock=self.clock)
        self.accounts = accounts_on_redis(
            self.redis, self.feed, UsersSql(self.database), self.platform, [SECRET], SETTINGS, clock=self.clock
        )
        await self.feed.start()
        await self.accounts.start()

    async def stop(self) -> None:
        await self.feed.aclose()
        await self.accounts.aclose()
        await self.platform.aclose()
        await self.redis.aclose()
        await self.database.aclose()

    @rule()
    def forget_scripts(self) -> None:
        self.server.cli("SCRIPT", "FLUSH")


RefreshRotationInRedis.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


class TestRefreshRotationInRedis(RefreshRotationInRedis.TestCase):
    @pytest.fixture(autouse=True)
    def _on_a_server(self, redis_session: RedisServer) -> None:
        RefreshRotationInRedis.server = redis_session
