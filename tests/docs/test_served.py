"""The pages against a real Teahouse: its routes, its metrics, and the day with curl."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from teahouse import Teahouse, TestClient
from teahouse.demo import Ledger
from teahouse.demo.promises import judge
from teahouse.settings import RedisSettings, Secret, Settings
from tests.docs.pages import PAGES, ROOT, blocks, code_spans, tables
from tests.processes import COMMAND, served
from tests.redis_servers import RedisServer

CLIENTS = ROOT / "docs" / "clients.md"
OPERATE = ROOT / "docs" / "operate.md"
PATH = re.compile(r"/v1/[\w./<>{}-]+")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[TestClient]:
    app = Teahouse()
    app.compose(Settings(data_dir=tmp_path))
    async with TestClient(app) as client:
        yield client


async def test_every_route_that_is_named_exists(client: TestClient) -> None:
    templates = (await client.get("/openapi.json")).json()["paths"]
    known = [re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)) + "$") for template in templates]
    for page in PAGES:
        text = "\n".join([*code_spans(page), *(block.text for block in blocks(page) if block.language == "sh")])
        for path in PATH.findall(re.sub(r"\$\w+", "x", text)):
            assert any(pattern.match(path) for pattern in known), f"{page.name}: {path}"


async def test_every_metric_is_described_and_every_description_has_its_metric(
    tmp_path: Path, redis_shared: RedisServer
) -> None:
    # What runs on Redis tells all that one process tells, and more.
    app = Teahouse()
    app.compose(Settings(data_dir=tmp_path, redis=RedisSettings(url=Secret(redis_shared.url))))
    async with TestClient(app) as client:
        text = (await client.get("/metrics")).body.decode()
    exposed = dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE))
    rows = [row for table in tables(OPERATE) for row in table if row[1] in ("counter", "gauge", "histogram")]
    described = {name.strip("`"): kind for name, kind, _ in rows}
    assert described.items() <= exposed.items()
    assert {name for name in exposed if name.startswith("teahouse_")} <= described.keys()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_day_with_curl_goes_as_it_is_told(tmp_path: Path) -> None:
    told = [block.text for block in blocks(CLIENTS) if block.language == "sh"]
    # Each answer on a line of its own.
    script = "set -eu\n" + "".join(told).replace("curl -sS", "curl -sS -w '\\n'")
    with served("--data-dir", str(tmp_path), cwd=tmp_path, TEAHOUSE_ACCESS_LOG="off") as server:
        environment = {
            "PATH": f"{COMMAND.parent}:{os.environ['PATH']}",
            "TEAHOUSE": server.url,
            "PASSWORD": "a long enough one",
            "TEAHOUSE_DATA_DIR": str(tmp_path),
        }
        played = subprocess.run(
            ["sh", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )
        assert server.stop() == 0
    answers = [json.loads(line) for line in played.stdout.splitlines() if line.startswith("{")]
    me, bought, again, refused, payment, order, books = answers
    assert me["role"] == "user"
    assert bought == again
    assert (bought["status"], bought["amount"]) == ("reserved", 1900)
    assert refused["type"] == "/problems/limit-reached"
    assert payment["state"] == "settled"
    assert (order["orderId"], order["status"]) == (bought["orderId"], "paid")
    assert (books["initial"], books["sold"], books["difference"]) == (2, 1, 0)


async def test_the_problem_that_is_shown_looks_as_it_does(client: TestClient) -> None:
    [shown] = [json.loads(block.text) for block in blocks(CLIENTS) if block.language == "json"]
    explained = (await client.get(shown["type"])).json()
    assert (shown["title"], shown["status"]) == (explained["title"], explained["status"])
    assert shown["detail"] == explained["explanation"]


def test_every_promise_of_the_demo_is_told_in_its_order() -> None:
    [_, promises] = tables(ROOT / "docs" / "demo.md")
    judged = [verdict.promise for verdict in judge(Ledger(buyers=1, stock=1, limit=1))]
    assert [promise for promise, _ in promises] == judged
