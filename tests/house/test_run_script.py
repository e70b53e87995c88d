"""``make run``: server, demo, and an orderly end, whatever ends it. The demo is a stand-in that lasts as it is told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).with_name("teahouse")
STAND_IN = """#!/bin/sh
[ "$1" = demo ] || exec {command} "$@"
echo "demo $*"
{demo}
"""


@pytest.fixture
def ports() -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return {"PORT": str(one.getsockname()[1]), "REALTIME_PORT": str(other.getsockname()[1])}


Run = Callable[..., "contextmanager[subprocess.Popen[str]]"]


@pytest.fixture
def run(tmp_path: Path, ports: dict[str, str]) -> Run:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "python").symlink_to(Path(sys.executable).resolve())

    @contextmanager
    def run(demo: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        (binaries / "teahouse").write_text(STAND_IN.format(command=COMMAND, demo=demo))
        (binaries / "teahouse").chmod(0o755)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TEAHOUSE_")}
        process = subprocess.Popen(
            [binaries / "python", ROOT / "scripts/run.py"],
            env={**clean, **ports, "DATA_DIR": str(tmp_path / "data"), **environment},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.terminate()

    return run


def said_until(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if wanted in line:
            return line
    raise AssertionError(f"{wanted!r} was never said")


def is_up(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.mark.parametrize("status", [0, 1, 7])
def test_once_ends_with_the_demos_status_and_leaves_no_server(run, ports: dict[str, str], tmp_path: Path, status: int):
    with run(f"exit {status}", ONCE="1") as process:
        out, _err = process.communicate(timeout=60)
    assert process.returncode == status
    assert f"demo --url http://127.0.0.1:{ports['PORT']} --data-dir {tmp_path / 'data'}" in out
    assert not is_up(ports["PORT"])


def test_the_demo_finds_the_server_ready_and_its_log_out_of_the_way(run, ports: dict[str, str], tmp_path: Path):
    probe = f"{sys.executable} -c \"import urllib.request as u; print(u.urlopen('$3/readyz').status)\""
    with run(probe, ONCE="1") as process:
        out, err = process.communicate(timeout=60)
    assert "200" in out
    assert "/readyz" not in err
    assert "/readyz" in (tmp_path / "data/access.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_server_stays_up_until_somebody_stops_it(run, ports: dict[str, str], number: int):
    with run("exit 0") as process:
        said_until(process, "Ctrl-C stops it")
        assert is_up(ports["PORT"])
        process.send_signal(number)
        _out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert not is_up(ports["PORT"])


def test_it_can_be_stopped_in_the_middle_of_the_demo(run, ports: dict[str, str]):
    with run("exec sleep 600") as process:
        said_until(process, "demo ")
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert not is_up(ports["PORT"])


@pytest.mark.parametrize("name", ["PORT", "REALTIME_PORT"])
def test_a_port_in_use_is_told_before_anything_starts(run, ports: dict[str, str], tmp_path: Path, name: str):
    with socket.create_server(("127.0.0.1", int(ports[name]))), run("exit 0") as process:
        _out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"port {ports[name]} cannot be used" in err
    assert f"make run {name}=" in err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1", "８０００"])
def test_a_port_that_is_none_is_told(run, port: str):
    with run("exit 0", PORT=port) as process:
        _out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "is not a port" in err


def test_a_server_that_cannot_start_ends_the_run_with_its_message(run):
    with run("exit 0", TEAHOUSE_PROT="1") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "did you mean TEAHOUSE_PORT?" in err
    assert "demo" not in out
