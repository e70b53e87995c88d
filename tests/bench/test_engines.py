"""The bench's own Redis and MariaDB, as every scenario on engines finds them."""

import os
import shutil
from pathlib import Path

import pytest

from bench.engines import mariadb_server, redis_server
from bench.failures import BenchFailed
from bench.machine import two_cores

SYSTEM = f"{os.environ.get('PATH', '')}:/usr/sbin"
CORES = sorted(os.sched_getaffinity(0))


def needs(program: str):
    missing = shutil.which(program, path=SYSTEM) is None and os.environ.get("CI") != "true"
    return pytest.mark.skipif(missing, reason=f"{program} is not installed")


@needs("redis-server")
def test_redis_keeps_a_file_on_disk_and_can_be_weighed(tmp_path: Path):
    with redis_server(tmp_path / "redis", core=CORES[-1], fsync="always") as redis:
        empty = redis.used_bytes()
        redis.ask.set("tea", "x" * 1_000_000)
        assert redis.ask.config_get("append*")["appendonly"] == "yes"
        assert redis.ask.config_get("appendfsync") == {"appendfsync": "always"}
        assert redis.used_bytes() - empty > 1_000_000
        assert redis.resident_bytes() > 1_000_000
        assert redis.cpu_seconds() >= 0
        process = redis.process
    assert process.poll() is not None


@needs("mariadbd")
def test_mariadb_has_an_empty_database_for_the_server(tmp_path: Path):
    with mariadb_server(tmp_path / "mariadb", core=CORES[-1]) as database:
        database.query("CREATE TABLE teahouse.cups (size INT); INSERT INTO teahouse.cups VALUES (1), (2), (2)")
        assert database.count("teahouse.cups", "size = 2") == 2
        assert database.url == f"mysql://teahouse@127.0.0.1:{database.port}/teahouse"
        with pytest.raises(BenchFailed, match="saucers"):
            database.count("teahouse.saucers", "1")
        process = database.process
    assert process.poll() is not None


def test_an_engine_that_is_not_installed_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda *_args, **_kwargs: None)
    with pytest.raises(BenchFailed, match="apt-get install redis-server"), redis_server(tmp_path, core=0):
        pass


def test_an_engine_that_ends_at_once_is_reported_with_its_words(tmp_path: Path):
    with (
        pytest.raises(BenchFailed, match="appendfsync"),
        redis_server(tmp_path / "redis", core=CORES[-1], fsync="sometimes"),
    ):
        pass


def test_the_bench_wants_two_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3})
    with pytest.raises(BenchFailed, match="two cores"):
        two_cores()
