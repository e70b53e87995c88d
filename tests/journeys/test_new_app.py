"""From ``teahouse init`` to a sale, as its README tells it: every command, every file, over real sockets."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.journeys.shop import PASSWORD, call, teahouse
from tests.processes import served


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    teahouse("init", "shop", cwd=tmp_path)
    return tmp_path / "shop"


def put_on_sale(url: str, *, stock: int) -> str:
    token = call(f"{url}/v1/auth/password", username="boss", password=PASSWORD)["accessToken"]
    tea = call(f"{url}/v1/products", token, name="Spring tea", description="100 g", images=[], price=8800)
    now = datetime.now(UTC)
    sale = call(
        f"{url}/v1/sales",
        token,
        productId=tea["id"],
        stock=stock,
        price=6600,
        startsAt=(now - timedelta(minutes=1)).isoformat(),
        endsAt=(now + timedelta(hours=1)).isoformat(),
        perBuyerLimit=1,
        payWithinSeconds=900,
    )
    return str(sale["id"])


def test_a_new_app_serves_its_own_routes_beside_a_whole_shop(shop: Path):
    teahouse("user", "create", "boss", "--role", "admin", "--password-stdin", cwd=shop, stdin=PASSWORD)
    with served("app:app", cwd=shop) as server:
        assert call(f"{server.url}/hello/tea")["text"] == "你好, tea!"
        sale = put_on_sale(server.url, stock=3)
        assert call(f"{server.url}/v1/sales/{sale}")["remaining"] == 3
        assert "shop serves" in server.said
        assert "ok" in teahouse("doctor", cwd=shop)
        assert server.stop() == 0
    assert teahouse("reconcile", cwd=shop) == "No difference.\n"


def test_what_was_sold_is_still_sold_after_a_restart_and_a_new_key(shop: Path):
    teahouse("user", "create", "boss", "--role", "admin", "--password-stdin", cwd=shop, stdin=PASSWORD)
    with served("app:app", cwd=shop) as server:
        tokens = call(f"{server.url}/v1/auth/wechat", code="sandbox-bo-1")
        sale = put_on_sale(server.url, stock=3)
        assert server.stop() == 0
    teahouse("key", "rotate", cwd=shop)
    with served("app:app", cwd=shop) as server:
        me = call(f"{server.url}/v1/me", tokens["accessToken"])
        assert me["id"] == tokens["user"]["id"]
        assert call(f"{server.url}/v1/sales/{sale}")["remaining"] == 3
        assert call(f"{server.url}/v1/auth/refresh", refreshToken=tokens["refreshToken"])["accessToken"]


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on the PATH")
def test_the_mini_program_of_a_new_app_buys_from_it(shop: Path):
    teahouse("user", "create", "boss", "--role", "admin", "--password-stdin", cwd=shop, stdin=PASSWORD)
    with served("app:app", cwd=shop) as server:
        put_on_sale(server.url, stock=3)
        done = subprocess.run(
            ["node", Path(__file__).with_name("mini_program.js"), shop / "miniprogram", server.url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["order"]["status"] == "reserved"
    assert seen["found"]["amount"] == 6600
    assert seen["refusal"] == "limit-reached"
    assert seen["cancelled"]["status"] == "cancelled"
    assert seen["user"] is None
