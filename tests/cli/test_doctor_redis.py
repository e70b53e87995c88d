"""What the doctor says about Redis, one line for each thing to mend."""

from __future__ import annotations

import time

import pytest

from teahouse.cli import checkup_redis
from teahouse.cli.findings import State
from teahouse.settings import RedisSettings, Secret, Settings
from tests.redis_servers import RedisServer, free_port, redis_cluster, redis_server

PASSWORD = "oolong-8421"


async def findings(url: str, tmp_path) -> dict[str, tuple[State, str]]:
    settings = Settings(redis=RedisSettings(url=Secret(url), timeout_seconds=1.0), data_dir=tmp_path)
    found = [finding async for finding in checkup_redis.redis(settings)]
    assert PASSWORD not in repr(found)
    return {finding.check: (finding.state, finding.says) for finding in found}


async def test_a_server_that_keeps_everything_is_good(redis_alone: RedisServer, tmp_path):
    found = await findings(redis_alone.url, tmp_path)
    assert {state for state, _ in found.values()} == {State.GOOD}
    assert len(found) == 6


async def test_nothing_is_said_where_no_redis_is_set(tmp_path):
    assert await findings("", tmp_path) == {}


async def test_a_server_that_is_not_there_is_named_with_its_address(tmp_path):
    port = free_port()
    state, says = (await findings(f"redis://:{PASSWORD}@127.0.0.1:{port}", tmp_path))["redis"]
    assert state is State.BROKEN
    assert f"127.0.0.1:{port}" in says


@pytest.mark.parametrize("given", ["", ":wrong@", f"nobody:{PASSWORD}@"])
async def test_a_wrong_password_is_said_as_such(tmp_path, given):
    with redis_server(tmp_path / "redis", requirepass=PASSWORD) as server:
        state, says = (await findings(f"redis://{given}127.0.0.1:{server.port}", tmp_path))["redis"]
        assert state is State.BROKEN
        assert "password" in says
        assert "TEAHOUSE_REDIS__URL" in says
        assert (await findings(server.url, tmp_path))["redis"][0] is State.GOOD


async def test_a_policy_that_would_throw_stock_away_is_broken(tmp_path):
    with redis_server(tmp_path / "redis", aof=True, maxmemory="64mb", maxmemory_policy="allkeys-lru") as server:
        state, says = (await findings(server.url, tmp_path))["redis memory"]
        assert state is State.BROKEN
        assert "noeviction" in says


@pytest.mark.parametrize(
    ("options", "word"), [({"aof": False}, "appendonly"), ({"aof": True, "appendfsync": "everysec"}, "last second")]
)
async def test_what_a_crash_would_lose_is_said(tmp_path, options, word):
    with redis_server(tmp_path / "redis", **options) as server:
        state, says = (await findings(server.url, tmp_path))["redis persistence"]
        assert state is State.ODD
        assert word in says


async def test_a_server_that_forbids_config_is_examined_all_the_same(redis_alone: RedisServer, tmp_path):
    redis_alone.cli("ACL", "SETUSER", "shop", "on", f">{PASSWORD}", "~*", "&*", "+@all", "-config")
    found = await findings(f"redis://shop:{PASSWORD}@127.0.0.1:{redis_alone.port}", tmp_path)
    assert found["redis persistence"][0] is State.ODD
    assert found["redis memory"][0] is State.GOOD


async def test_a_clock_that_differs_is_said(redis_alone: RedisServer, tmp_path, monkeypatch):
    real = time.time
    monkeypatch.setattr(checkup_redis.time, "time", lambda: real() + 90)
    state, says = (await findings(redis_alone.url, tmp_path))["redis clock"]
    assert state is State.BROKEN
    assert "90.0 s behind" in says


async def test_too_few_connections_are_said(tmp_path):
    with redis_server(tmp_path / "redis", aof=True, maxclients="3") as server:
        state, says = (await findings(server.url, tmp_path))["redis connections"]
        assert state is State.ODD
        assert "maxclients" in says


async def test_a_replica_is_not_where_to_write(redis_alone: RedisServer, tmp_path):
    with redis_server(tmp_path / "replica", replicaof=f"127.0.0.1 {redis_alone.port}") as replica:
        state, says = (await findings(replica.url, tmp_path))["redis"]
        assert state is State.BROKEN
        assert "replica" in says


@pytest.mark.parametrize("version", ["6.2.14", "5.0.3"])
def test_an_old_version_is_broken(version):
    assert checkup_redis._version({"redis_version": version}).state is State.BROKEN


async def test_each_node_of_a_cluster_is_examined(tmp_path):
    with redis_cluster(tmp_path / "cluster", appendonly="yes") as cluster:
        cluster.primaries[2].cli("CONFIG", "SET", "maxmemory", "64mb", "maxmemory-policy", "allkeys-lru")
        found = await findings(cluster.url, tmp_path)
        assert found["redis"][0] is State.GOOD
        assert found["redis memory"][0] is State.BROKEN


async def test_an_address_that_cannot_be_read_is_said_without_its_password(tmp_path):
    state, says = (await findings(f"redis+sentinel://:{PASSWORD}@127.0.0.1:26379", tmp_path))["redis"]
    assert state is State.BROKEN
    assert "redis+sentinel://HOST:PORT" in says
