"""The demo's whole day against two nodes behind the real nginx, over Redis and MariaDB: every promise is kept."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from pathlib import Path

from tests.databases import MariaDb
from tests.databases import running as database_server
from tests.journeys.balancer import balancer
from tests.journeys.servers import running, teahouse
from tests.redis_servers import redis_server


def test_the_demo_keeps_every_promise_against_two_nodes_behind_nginx(tmp_path: Path):
    with ExitStack() as held:
        redis = held.enter_context(redis_server(tmp_path / "redis", aof=True))
        database = held.enter_context(database_server(MariaDb))
        settings = {
            "TEAHOUSE_REDIS__URL": redis.url,
            "TEAHOUSE_DATABASE__URL": database.url(database.new_database()),
            "TEAHOUSE_SECRET_KEY": secrets.token_hex(32),
            "TEAHOUSE_TRUSTED_PROXIES": "127.0.0.1",
        }
        nodes = []
        for name, workers in (("one", "1"), ("two", "2")):
            folder = tmp_path / name
            folder.mkdir()
            nodes.append(held.enter_context(running(folder, "--workers", workers, **settings)))
        ports = [int(node.url.rpartition(":")[2]) for node in nodes]
        realtime = [node.realtime_port for node in nodes]
        url = held.enter_context(balancer(tmp_path / "nginx", ports, realtime=realtime))
        words = ("demo", "--url", url, "--data-dir", "data", "--buyers", "200", "--stock", "40")
        done = teahouse(*words, cwd=nodes[0].directory, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Every promise was kept. Difference 0." in done.stdout
        # Through the balancer too, and over both nodes.
        assert "of 200 buyers, held to the end" in done.stdout
        assert ": 100 %, in sequence, each once" in done.stdout
        checked = teahouse("reconcile", "--data-dir", "data", cwd=nodes[1].directory, **settings)
        assert (checked.returncode, checked.stdout) == (0, "No difference.\n"), checked.stderr
        assert all("/purchases" in node.access_log for node in nodes)
