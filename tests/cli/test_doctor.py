"""``teahouse doctor``: one line for each thing that was looked at, and what to do about it."""

from __future__ import annotations

import os
import pty
import re
import resource
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from teahouse import datadir
from teahouse.cli import checkup
from teahouse.cli.findings import Finding, State
from teahouse.engines.sql import ReplicaState
from teahouse.settings import Settings
from tests.processes import COMMAND


@pytest.fixture(autouse=True)
def free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAHOUSE_PORT", "0")
    monkeypatch.setenv("TEAHOUSE_REALTIME_PORT", "0")


def line(result, check: str) -> str:
    return next(line for line in result.stdout.splitlines() if line.startswith(check))


def test_a_fresh_place_is_in_order_and_is_left_as_it_was(run, place: Path):
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert "mend" not in result.stdout
    assert list(place.iterdir()) == []


def test_on_a_terminal_it_is_a_table_that_fits(place: Path):
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "60"}
    shown = b""
    with subprocess.Popen([COMMAND, "doctor"], stdout=theirs, stderr=theirs, env=environment) as doctor:
        os.close(theirs)
        # Reading fails (EIO) when nobody holds the other end any more.
        with suppress(OSError):
            while chunk := os.read(ours, 4096):
                shown += chunk
        os.close(ours)
    assert doctor.returncode == 0
    lines = re.sub(rb"\x1b\[[0-9;]*m", b"", shown).decode().splitlines()
    assert lines[0].split()[:2] == ["settings", "ok"]
    assert max(map(len, lines)) <= 60


def test_a_place_in_use_is_in_order(run):
    run("migrate")
    run("key", "rotate")
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert "up to date" in line(result, "schema")
    assert "one signs" in line(result, "secret key")


def test_wrong_settings_are_findings_too(run, monkeypatch):
    monkeypatch.setenv("TEAHOUSE_PROT", "1")
    result = run("doctor")
    assert result.exit_code == 1
    assert "did you mean TEAHOUSE_PORT?" in line(result, "settings        mend")


def test_wechat_that_nobody_can_answer_must_be_mended(run, monkeypatch):
    monkeypatch.setenv("TEAHOUSE_HOST", "0.0.0.0")
    result = run("doctor")
    assert result.exit_code == 1
    assert "TEAHOUSE_WECHAT__SANDBOX=true" in line(result, "wechat")


def test_a_sandbox_that_was_spelled_out_is_worth_a_look(run, monkeypatch):
    monkeypatch.setenv("TEAHOUSE_WECHAT__SANDBOX", "true")
    assert " look " in line(run("doctor"), "wechat")


def test_the_platform_is_named_without_its_secret(run, monkeypatch):
    monkeypatch.setenv("TEAHOUSE_WECHAT__APPID", "wx1234")
    monkeypatch.setenv("TEAHOUSE_WECHAT__SECRET", "do-not-tell")
    result = run("doctor")
    assert "wx1234" in line(result, "wechat")
    assert "do-not-tell" not in result.output


def test_a_key_that_others_may_read_must_be_mended(run, place: Path):
    run("key", "rotate")
    (place / "teahouse-data/secret.key").chmod(0o644)
    result = run("doctor")
    assert result.exit_code == 1
    assert "chmod 600" in line(result, "secret key")


def test_a_directory_that_everybody_may_write_must_be_mended(place: Path):
    place.chmod(0o777)
    assert next(checkup.directory(place)).state is State.BROKEN


def test_a_directory_that_cannot_be_written_must_be_mended(place: Path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    (found,) = checkup.directory(place)
    assert found.state is State.BROKEN


@pytest.mark.parametrize(("free", "state"), [(50 << 20, State.BROKEN), (500 << 20, State.ODD), (5 << 30, State.GOOD)])
def test_a_disk_that_is_nearly_full_is_told(place: Path, monkeypatch, free: int, state: State):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    (found,) = checkup.directory(place)
    assert found.state is state


@pytest.mark.parametrize("now", [0.0, 5e9])
def test_a_time_that_cannot_be_is_told(place: Path, monkeypatch, now: float):
    monkeypatch.setattr(
        checkup, "time", SimpleNamespace(time=lambda: now, gmtime=lambda _: None, strftime=lambda *_: "then")
    )
    (found,) = checkup.clock(place)
    assert found.state is State.BROKEN


def test_a_clock_that_stepped_back_behind_its_own_files_is_told(place: Path):
    (place / "teahouse.db").write_text("")
    os.utime(place / "teahouse.db", (4e9, 4e9))
    (found,) = checkup.clock(place)
    assert found.state is State.BROKEN
    assert "written later" in found.says


def test_a_damaged_database_must_be_mended(run, place: Path):
    datadir.prepare(place / "teahouse-data")
    (place / "teahouse-data/teahouse.db").write_bytes(b"this is no database" * 100)
    result = run("doctor")
    assert result.exit_code == 1
    assert "cannot be read" in line(result, "database")


def test_a_schema_that_is_behind_is_worth_a_look_and_names_the_command(run, place: Path):
    datadir.prepare(place / "teahouse-data")
    (place / "teahouse-data/teahouse.db").write_bytes(b"")
    result = run("doctor")
    assert result.exit_code == 0
    assert "teahouse migrate" in line(result, "schema")


def test_a_schema_of_a_later_version_must_be_mended(run, monkeypatch):
    run("migrate")
    monkeypatch.setattr("teahouse.migrations.head", lambda: "0000")
    result = run("doctor")
    assert result.exit_code == 1
    assert " mend " in line(result, "schema")


def test_a_port_that_something_else_uses_must_be_mended():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        found = {found.check: found for found in checkup.ports(Settings(port=number, realtime_port=0))}
    assert found["port"].state is State.BROKEN
    assert str(number) in found["port"].says
    assert found["realtime_port"].state is State.GOOD


def test_a_port_that_the_running_server_uses_is_in_order(place: Path):
    settings = Settings(data_dir=place / "d", realtime_port=0)
    with datadir.locked(settings.data_dir), socket.create_server(("127.0.0.1", 0)) as taken:
        http, _realtime = checkup.ports(Settings(data_dir=place / "d", port=taken.getsockname()[1], realtime_port=0))
    assert http.state is State.GOOD
    assert "running" in http.says


def test_a_lock_that_nobody_holds_does_not_excuse_a_taken_port(place: Path):
    with datadir.locked(place / "d"):
        pass
    with socket.create_server(("127.0.0.1", 0)) as taken:
        http, _realtime = checkup.ports(Settings(data_dir=place / "d", port=taken.getsockname()[1], realtime_port=0))
    assert http.state is State.BROKEN


@pytest.mark.parametrize(
    ("hard", "state"), [(64, State.ODD), (100_000, State.GOOD), (resource.RLIM_INFINITY, State.GOOD)]
)
def test_too_few_descriptors_are_worth_a_look(monkeypatch, hard: int, state: State):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, hard))
    (found,) = checkup.descriptors(10_000)
    assert found.state is state


@pytest.mark.parametrize(
    ("replica", "state", "says"),
    [
        (ReplicaState("db2:3306", "healthy", 0.1), State.GOOD, "db2:3306 follows the primary"),
        (
            ReplicaState("db2:3306", "lagging", 4.2),
            State.ODD,
            "db2:3306 is 4.2 s behind, more than 1; the primary answers for it",
        ),
        (
            ReplicaState("db2:3306", "unreachable", None),
            State.ODD,
            "db2:3306 is unreachable; until it is mended the primary answers for it",
        ),
    ],
)
def test_a_replica_that_is_left_out_is_worth_a_look(replica: ReplicaState, state: State, says: str):
    assert checkup.replica_finding(replica, 1.0) == Finding("replica", state, says)


def test_a_database_that_says_nothing_is_one_line(run, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("TEAHOUSE_DATABASE__URL", f"mysql://tea:leaf@127.0.0.1:{port}/shop")
        monkeypatch.setenv("TEAHOUSE_DATABASE__TIMEOUT_SECONDS", "0.3")
        result = run("doctor")
    assert result.exit_code == 1
    assert "cannot be read: it gives no answer" in line(result, "database")
    assert "leaf" not in result.output
