"""``teahouse reconcile`` where Redis decides: what was set aside is tried again, told, and dropped by a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.servers import teahouse
from tests.redis_servers import RedisServer, redis_server

PAYMENT = '["t-1","nobody",500,"refund-due","unknown-order",1767225600000]'
SHELF = "teahouse:{3}:set-aside"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def run(tmp_path: Path, redis: RedisServer):
    def command(*words: str):
        return teahouse(*words, "--data-dir", "data", cwd=tmp_path, TEAHOUSE_REDIS__URL=redis.url)

    assert command("migrate").returncode == 0
    return command


def test_what_was_set_aside_is_told_and_recorded_once_there_is_room(run, redis):
    redis.cli("HSET", SHELF, "t-1", f"too long for the column\n{PAYMENT}")
    told = run("reconcile")
    assert (told.returncode, told.stdout) == (1, "set-aside  t-1  0 items: too long for the column\n")
    assert "--drop ID" in told.stderr
    mended = run("reconcile", "--repair")
    assert (mended.returncode, mended.stdout) == (0, "set-aside  t-1  0 items: too long for the column (repaired)\n")
    assert run("reconcile").stdout == "No difference.\n"


def test_a_row_that_can_never_be_recorded_stays_until_a_person_drops_it(run, redis):
    redis.cli("HSET", SHELF, "7-0", "JSON is malformed\nno row at all")
    assert run("reconcile", "--repair").returncode == 1
    dropped = run("reconcile", "--drop", "7-0")
    assert (dropped.returncode, dropped.stdout) == (0, "No difference.\n")
    again = run("reconcile", "--drop", "7-0")
    assert again.returncode == 2
    assert "Nothing called 7-0 is set aside." in again.stderr


@pytest.mark.parametrize("words", [("--drop", "x"), ("--to-sql",)])
def test_without_redis_there_is_nothing_to_drop_or_to_bring_back(tmp_path, words):
    told = teahouse("reconcile", *words, "--data-dir", "data", cwd=tmp_path)
    assert told.returncode == 2
    assert "TEAHOUSE_REDIS__URL" in told.stderr


def test_the_stock_goes_to_sql_where_no_worker_runs(run, redis):
    assert run("reconcile", "--to-sql").stdout == "No difference.\n"
