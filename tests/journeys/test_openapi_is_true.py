"""What ``/openapi.json`` says is what the server does, whatever it is sent: schemathesis finds nothing to object to."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.journeys.conftest import MANY
from tests.journeys.people import (
    Person,
    at,
    books,
    fresh,
    hire_boss,
    log_in,
    log_in_boss,
    put_again_on_sale,
    put_on_sale,
)
from tests.journeys.servers import Running, running, surroundings, teahouse

SCHEMATHESIS = Path(sys.executable).with_name("st")
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
# These end the very session that the others are tried with, so they are tried last.
ENDING = r"/v1/auth/(logout|sessions/\{id\})"


async def things(boss: Person, orders_of: Person) -> dict[str, list[str]]:
    """Ids of what there is to find: sales that are open, nearly sold out, to come and over, and one person's orders."""
    now = datetime.now(UTC)
    plenty = {"stock": 1_000_000, "perBuyerLimit": 1_000_000}
    sale = await put_on_sale(boss, **plenty)
    others = [
        await put_again_on_sale(boss, sale["productId"], **terms)
        for terms in (
            {"stock": 3},
            {"startsAt": (now + timedelta(minutes=30)).isoformat()},
            {"endsAt": (now - timedelta(seconds=30)).isoformat()},
        )
    ]
    orders = [(await orders_of.buy(sale, fresh())).json()["orderId"] for _ in range(40)]
    guests = [await log_in(boss.client) for _ in range(2)]
    rooms = [await room_of(orders_of, guests[0]), await room_of(orders_of, boss), await room_of(guests[0], orders_of)]
    return {
        "products": [sale["productId"]],
        "sales": [each["id"] for each in (sale, *others)],
        "orders": orders,
        "rooms": rooms,
        "users": [boss.id, orders_of.id, *(each.id for each in guests)],
    }


async def room_of(owner: Person, guest: Person) -> str:
    """A room with something said in it."""
    members = [] if owner.id == guest.id else [guest.id]
    room = (await owner.post("/v1/rooms", json={"name": "tea", "members": members})).json()["id"]
    for number in range(30):
        body = {"type": "text", "id": f"{room}{number}", "to": f"room:{room}", "content": "hello"}
        assert (await owner.post("/v1/messages", json=body)).status == 201
    return str(room)


def explore(server: Running, person: Person, ids: dict[str, list[str]], *, examples: int) -> None:
    common = [
        SCHEMATHESIS, "--config-file", CONFIGURATION, "run", f"{server.url}/openapi.json", "--no-color",
        "--checks", "all", "--max-examples", str(examples), "--header", f"Authorization: Bearer {person.token}",
    ]  # fmt: skip
    known = {
        "JOURNEY_IDS": json.dumps(ids),
        "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
        "PYTHONPATH": str(CONFIGURATION.parent),
    }
    for words in (["--exclude-path-regex", ENDING], ["--include-path-regex", ENDING]):
        done = subprocess.run(
            [*common, *words],
            cwd=server.directory,
            env=surroundings(measured=True, **known),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(done.stdout + done.stderr, pytrace=False)


@pytest.mark.parametrize(("role", "examples"), [("admin", 25), ("user", 10)])
async def test_schemathesis_finds_nothing_whoever_asks(tmp_path: Path, role: str, examples: int):
    hire_boss(tmp_path)
    with running(tmp_path, **MANY) as server:
        async with at(server) as client:
            boss = await log_in_boss(client)
            person = await log_in(client) if role == "user" else boss
            ids = await things(boss, orders_of=person)
            explore(server, person, ids, examples=examples)
            witness = await log_in_boss(client)
            for sale in ids["sales"]:
                await books(witness, {"id": sale})
        lines = [json.loads(line) for line in server.access_log.splitlines()]
        # Not only refusals: it got as far as it was meant to.
        reached = {(line["method"], line["route"]) for line in lines if line["status"] < 400}
        assert {("POST", "/v1/sales/{id}/purchases"), ("POST", "/v1/orders/{id}/cancel")} <= reached
        assert {("POST", "/v1/messages"), ("GET", "/v1/rooms/{id}/messages"), ("PUT", "/v1/rooms/{id}/read")} <= reached
        assert [line for line in lines if line["status"] >= 500 and "wechat" not in line["path"]] == []
        assert server.stop() == 0
        assert "ERROR" not in server.said
    assert teahouse("reconcile", "--data-dir", "data", cwd=tmp_path).stdout == "No difference.\n"
