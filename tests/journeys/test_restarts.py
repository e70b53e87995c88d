"""What a restart leaves as it was, and what it puts right."""

from __future__ import annotations

import sqlite3
import time
from datetime import datetime
from pathlib import Path

import pytest

from teahouse.web.client import Client
from tests.journeys.people import Person, at, books, hire_boss, log_in, log_in_boss, put_on_sale, refused
from tests.journeys.servers import Running, running, teahouse, until


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with an admin."""
    hire_boss(tmp_path)
    return tmp_path


async def test_nobody_is_logged_out_by_a_restart_and_nobody_comes_back(place: Path):
    with running(place) as server:
        async with at(server) as client:
            stays, goes, everywhere = [await log_in(client) for _ in range(3)]
            assert (await goes.post("/v1/auth/logout")).status == 204
            assert (await everywhere.post("/v1/auth/logout?everywhere=true")).status == 204
    with running(place) as server:
        async with at(server) as client:
            assert (await Person(client, stays.tokens).get("/v1/me")).status == 200
            for person in (goes, everywhere):
                refused(await Person(client, person.tokens).get("/v1/me"), 401, "session-ended")
                body = {"refreshToken": person.tokens["refreshToken"]}
                refused(await client.post("/v1/auth/refresh", json=body), 401, "session-ended")


async def test_a_logout_just_before_the_power_went_still_holds(place: Path):
    with running(place) as server:
        async with at(server) as client:
            person = await log_in(client)
            assert (await person.post("/v1/auth/logout")).status == 204
            server.kill()
    with running(place) as server:
        async with at(server) as client:
            refused(await Person(client, person.tokens).get("/v1/me"), 401, "session-ended")


async def test_new_keys_log_nobody_out_and_sign_from_then_on(place: Path):
    with running(place) as server:
        async with at(server) as client:
            person = await log_in(client)
    for _ in range(2):
        assert teahouse("key", "rotate", "--data-dir", "data", cwd=place).returncode == 0
    with running(place) as server:
        async with at(server) as client:
            back = Person(client, person.tokens)
            assert (await back.get("/v1/me")).json()["id"] == person.id
            renewed = await client.post("/v1/auth/refresh", json={"refreshToken": person.tokens["refreshToken"]})
            assert renewed.status == 200
            assert renewed.json()["accessToken"].split(".")[0] != person.token.split(".")[0]
            assert (await client.get("/v1/me", token=renewed.json()["accessToken"])).status == 200


async def test_a_key_that_was_thrown_away_verifies_nothing_any_more(place: Path):
    with running(place) as server:
        async with at(server) as client:
            person = await log_in(client)
    (place / "data" / "secret.key").unlink()
    with running(place) as server:
        async with at(server) as client:
            refused(await Person(client, person.tokens).get("/v1/me"), 401, "access-token-invalid")


async def test_a_sandbox_code_works_once_over_a_restart_too(place: Path):
    code = {"code": "sandbox-anna-1"}
    with running(place) as server:
        async with at(server) as client:
            assert (await client.post("/v1/auth/wechat", json=code)).status == 200
    with running(place) as server:
        async with at(server) as client:
            refused(await client.post("/v1/auth/wechat", json=code), 401, "wechat-code-invalid")


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_the_same_key_is_the_same_order_over_a_restart(place: Path, end: str):
    with running(place) as server:
        async with at(server) as client:
            boss = await log_in_boss(client)
            sale = await put_on_sale(boss)
            buyer = await log_in(client)
            made = [await buyer.buy(sale, key) for key in ("a", "b")]
            cancelled = made[0].json()["orderId"]
            assert (await buyer.post(f"/v1/orders/{cancelled}/cancel")).status == 200
            before = await books(boss, sale)
        getattr(server, end)()
    with running(place) as server:
        async with at(server) as client:
            back = Person(client, buyer.tokens)
            for key, first in zip(("a", "b"), made, strict=True):
                again = await back.buy(sale, key)
                assert (again.status, again.body) == (202, first.body)
                refused(await back.buy(sale, key, 2), 422, "idempotency-mismatch")
            assert (await back.get(f"/v1/orders/{cancelled}")).json()["status"] == "cancelled"
            # One is held and two allowed, so that one more goes and no second one.
            assert (await back.buy(sale, "c")).status == 202
            refused(await back.buy(sale, "d"), 409, "limit-reached")
            after = await books(Person(client, boss.tokens), sale)
            assert (before["reserved"], after["reserved"]) == (1, 2)


async def test_reservations_that_ran_out_while_it_was_down_return_at_the_start(place: Path):
    with running(place) as server:
        async with at(server) as client:
            boss, buyer = await log_in_boss(client), await log_in(client)
            sale = await put_on_sale(boss, stock=2, payWithinSeconds=1)
            made = (await buyer.buy(sale, "k", 2)).json()
            server.kill()
    due = datetime.fromisoformat(made["payBefore"]).timestamp()
    until(lambda: time.time() > due, "the time to pay is over")
    with running(place) as server:
        async with at(server) as client:
            await remaining(client, sale, 2)
            back = Person(client, buyer.tokens)
            assert (await back.get(f"/v1/orders/{made['orderId']}")).json()["status"] == "expired"
            found = await books(Person(client, boss.tokens), sale)
            assert (found["remaining"], found["reserved"]) == (2, 0)
            assert (await (await log_in(client)).buy(sale, "k", 2)).status == 202


async def remaining(client: Client, sale: dict, wanted: int) -> None:
    deadline = time.monotonic() + 20
    while (await client.get(f"/v1/sales/{sale['id']}")).json()["remaining"] != wanted:
        assert time.monotonic() < deadline, "the stock never returned"


async def test_the_books_come_out_even_after_a_rush_and_the_command_says_what_is_not(place: Path):
    with running(place) as server:
        sale = await rush(server)
        assert server.stop() == 0
    assert teahouse("reconcile", "--data-dir", "data", cwd=place).returncode == 0
    tamper(place, sale)
    told = teahouse("reconcile", "--data-dir", "data", cwd=place)
    assert told.returncode == 1
    assert sale["id"] in told.stdout
    assert teahouse("reconcile", "--data-dir", "data", "--sale", sale["id"], cwd=place).returncode == 1
    with running(place):
        assert teahouse("reconcile", "--data-dir", "data", "--repair", cwd=place).returncode == 2
    mended = teahouse("reconcile", "--data-dir", "data", "--repair", cwd=place)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert "repaired" in mended.stdout
    assert teahouse("reconcile", "--data-dir", "data", cwd=place).stdout == "No difference.\n"
    with running(place) as server:
        async with at(server) as client:
            found = await books(await log_in_boss(client), sale)
            assert (found["initial"], found["reserved"], found["sold"]) == (20, 4, 2)


async def rush(server: Running) -> dict:
    """A sale of 20: four reserved, two sold, one given back."""
    async with at(server) as client:
        boss = await log_in_boss(client)
        sale = await put_on_sale(boss, stock=20, perBuyerLimit=1)
        buyers = [await log_in(client) for _ in range(7)]
        orders = [(await buyer.buy(sale, "k")).json()["orderId"] for buyer in buyers]
        for buyer, order in list(zip(buyers, orders, strict=True))[:2]:
            assert (await buyer.post("/v1/sandbox/payments", json={"orderId": order})).status == 200
        assert (await buyers[-1].post(f"/v1/orders/{orders[-1]}/cancel")).status == 200
        await books(boss, sale)
        return sale


def tamper(place: Path, sale: dict) -> None:
    database = sqlite3.connect(place / "data" / "teahouse.db")
    with database:
        changed = database.execute(
            "UPDATE sales SET remaining = remaining + 3, reserved = reserved - 3 WHERE id = ?", [sale["id"]]
        )
        assert changed.rowcount == 1
    database.close()


def test_the_doctor_is_content_before_during_and_after(place: Path):
    ports = ("--config", "teahouse.toml")
    (place / "teahouse.toml").write_text("port = 0\nrealtime_port = 0\n")
    for moment in ("before", "during", "after"):
        with running(place) as server:
            if moment != "during":
                server.stop()
            done = teahouse("doctor", "--data-dir", "data", *ports, cwd=place)
            assert done.returncode == 0, (moment, done.stdout, done.stderr)
            assert "mend" not in done.stdout
