"""What ``/openapi.json`` says is what the server does, whatever it is sent: schemathesis finds nothing to object to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.shop import PASSWORD, call, teahouse
from tests.processes import Served, served

SCHEMATHESIS = Path(sys.executable).with_name("st")
# These end the very session that the others are tried with, so they are tried last.
ENDING = r"/v1/auth/(logout|sessions/\{id\})"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    teahouse("user", "create", "boss", "--role", "admin", "--password-stdin", cwd=tmp_path, stdin=PASSWORD)
    with served(cwd=tmp_path, TEAHOUSE_ACCESS_LOG="off") as server:
        yield server


def explore(server: Served, cwd: Path, *words: str) -> None:
    done = subprocess.run(
        [
            SCHEMATHESIS,
            "--config-file",
            Path(__file__).with_name("schemathesis.toml"),
            "run",
            f"{server.url}/openapi.json",
            "--no-color",
            *words,
        ],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


def test_schemathesis_finds_nothing_whoever_asks(server: Served, tmp_path: Path):
    boss = call(f"{server.url}/v1/auth/password", username="boss", password=PASSWORD)["accessToken"]
    buyer = call(f"{server.url}/v1/auth/wechat", code="sandbox-bo-1")["accessToken"]
    for token in (boss, buyer):
        known = ("-H", f"Authorization: Bearer {token}")
        explore(server, tmp_path, *known, "--exclude-path-regex", ENDING)
        explore(server, tmp_path, *known, "--include-path-regex", ENDING)
    assert "Traceback" not in server.said
    assert server.stop() == 0
    assert "ERROR" not in server.said
    assert teahouse("reconcile", cwd=tmp_path) == "No difference.\n"
