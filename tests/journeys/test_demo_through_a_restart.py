"""The workers of a node are replaced in the middle of the demo's day: sockets come back, and nothing was missed."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.databases import Postgres
from tests.databases import running as database_server
from tests.journeys.servers import Running, running, surroundings, until
from tests.processes import COMMAND
from tests.redis_servers import redis_server

BUYERS = 60


@contextmanager
def node(tmp_path: Path) -> Iterator[tuple[Running, dict[str, str]]]:
    """One of two workers, whose sockets are closed within a second."""
    with ExitStack() as held:
        redis = held.enter_context(redis_server(tmp_path / "redis", aof=True))
        database = held.enter_context(database_server(Postgres))
        settings = {
            "TEAHOUSE_REDIS__URL": redis.url,
            "TEAHOUSE_DATABASE__URL": database.url(database.new_database()),
            "TEAHOUSE_SECRET_KEY": secrets.token_hex(32),
            "TEAHOUSE_MESSAGES__RESTART_SECONDS": "1",
        }
        yield held.enter_context(running(tmp_path, "--workers", "2", **settings)), settings


@contextmanager
def demo(server: Running, settings: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    words = ["--url", server.url, "--realtime-url", f"ws://127.0.0.1:{server.realtime_port}", "--data-dir", "data"]
    command = [COMMAND, "demo", "--buyers", str(BUYERS), "--stock", "20", "--json", *words]
    process = subprocess.Popen(
        command, cwd=server.directory, env=surroundings(**settings), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def workers(server: Running) -> set[int]:
    pid = server.process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_a_rolling_restart_in_the_middle_of_the_day_loses_nothing(tmp_path: Path):
    with node(tmp_path) as (server, settings), demo(server, settings) as process:
        before = workers(server)
        until(lambda: "/purchases" in server.access_log, "somebody has bought")
        server.process.send_signal(signal.SIGHUP)
        told, complaints = process.communicate(timeout=90)
        report: dict[str, Any] = json.loads(told)
        broken = [verdict for verdict in report["promises"] if not verdict["kept"]]
        assert broken == [], complaints
        assert process.returncode == 0
        until(lambda: len(workers(server)) == 2 and not before & workers(server), "every worker is new")
    room = report["room"]
    assert (room["sockets"], room["lost"], room["inSequence"]) == (BUYERS, {}, True)
    # Who was at the first worker may have come back to the second, and lost the socket once more.
    assert room["returned"] >= BUYERS
    assert room["delivered"] == room["expected"] > BUYERS * BUYERS
    assert room["acknowledged"] == room["sent"]
