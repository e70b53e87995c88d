"""Whatever is sent as a body, every route answers with the right problem, and no stock moves."""

from __future__ import annotations

from typing import Any

from teahouse.web.client import Client
from tests.journeys.hostile import JSON, Bad, bad_bodies
from tests.journeys.people import Person, books, fresh, log_in, put_on_sale, refused, sale_terms, well_formed
from tests.journeys.servers import Running

REFUSALS = {400: {"malformed-json"}, 415: {"unsupported-media-type"}, 422: {"validation-failed"}}
# A text is a text: what is wrong with these is found out only by looking for it.
UNKNOWN = {
    ("POST /v1/auth/wechat", 401): "wechat-code-invalid",
    ("POST /v1/auth/password", 401): "bad-credentials",
    ("POST /v1/auth/refresh", 401): "refresh-token-invalid",
    # As long as a frame, and no longer.
    ("POST /v1/messages", 413): "content-too-large",
}


async def with_bodies(client: Client) -> list[tuple[str, str, dict[str, Any]]]:
    document = (await client.get("/openapi.json")).json()
    return [
        (method.upper(), path, operation["requestBody"]["content"][JSON]["schema"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
    ]


def good_bodies(sale: dict[str, Any], order: str, room: str, other: str) -> dict[str, dict[str, Any]]:
    """A body that each route would take; a new route needs one here."""
    return {
        "POST /v1/auth/wechat": {"code": f"sandbox-{fresh()}-1"},
        "POST /v1/auth/register": {"username": fresh(), "password": "long enough for this"},
        "POST /v1/auth/password": {"username": fresh(), "password": "long enough for this"},
        "POST /v1/auth/refresh": {"refreshToken": "x"},
        "PUT /v1/me": {"nickname": "Anna", "avatarUrl": ""},
        "POST /v1/products": {"name": "Tea", "price": 1, "description": "", "images": []},
        "PUT /v1/products/{id}": {"name": "Tea", "price": 1, "description": "", "images": []},
        "POST /v1/sales": sale_terms(sale["productId"]),
        "PUT /v1/sales/{id}/stock": {"stock": 10},
        "POST /v1/sales/{id}/purchases": {"quantity": 1},
        "POST /v1/sandbox/codes": {"name": fresh()},
        "POST /v1/sandbox/payments": {"orderId": order, "transactionId": fresh(), "amount": 6600},
        "POST /v1/rooms": {"name": "Tea", "members": [other]},
        "POST /v1/rooms/{id}/members": {"userIds": [other]},
        "PUT /v1/rooms/{id}/read": {"seq": 0},
        "PUT /v1/users/{id}/read": {"seq": 0},
        "POST /v1/messages": {"type": "text", "id": fresh(), "to": f"room:{room}", "content": "green?"},
    }


async def a_room(owner: Person) -> str:
    return (await owner.post("/v1/rooms", json={"name": "Tea"})).json()["id"]


async def a_talk(one: Person, other: Person) -> None:
    body = {"type": "text", "id": fresh(), "to": f"user:{other.id}", "content": "green?"}
    assert (await one.post("/v1/messages", json=body)).status == 201


def address_of(path: str, sale: dict[str, Any], room: str, other: str) -> str:
    for kind, id_ in (("rooms", room), ("users", other)):
        if kind in path:
            return path.replace("{id}", id_)
    return path.replace("{id}", sale["productId"] if "products" in path else sale["id"])


async def test_no_spoilt_body_is_taken_and_no_stock_moves(house: Running, client: Client, boss: Person, buyer: Person):
    sale = await put_on_sale(boss)
    order = (await buyer.buy(sale, "kept")).json()["orderId"]
    before = await books(boss, sale)
    me = (await buyer.get("/v1/me")).json()
    products = (await boss.get("/v1/products?limit=100")).body
    interface = (await client.get("/openapi.json")).json()
    room = await a_room(buyer)
    await a_talk(buyer, boss)
    good = good_bodies(sale, order, room, boss.id)
    found: list[str] = []
    for method, path, schema in await with_bodies(client):
        person = boss if path.startswith(("/v1/products", "/v1/sales")) and "purchases" not in path else buyer
        address = address_of(path, sale, room, boss.id)
        route = f"{method} {path}"
        for bad in bad_bodies(good[route], schema, interface):
            found += await objections(person, route, method, address, bad)
    assert not found, "\n".join(found)
    assert await books(boss, sale) == before
    assert (await buyer.get("/v1/me")).json() == me
    assert (await boss.get("/v1/products?limit=100")).body == products
    assert len((await buyer.get("/v1/orders")).json()["items"]) == 1
    assert [each["id"] for each in (await buyer.get("/v1/rooms")).json()["items"]] == [room]
    assert (await buyer.get(f"/v1/rooms/{room}/messages")).json()["items"] == []
    assert "Traceback" not in house.said


async def objections(person: Person, route: str, method: str, address: str, bad: Bad) -> list[str]:
    headers = {"Idempotency-Key": fresh()}
    if bad.content_type is not None:
        headers["Content-Type"] = bad.content_type
    answer = await person.ask(method, address, body=bad.body, headers=headers)
    slug = answer.json().get("type", "").rpartition("/")[2] if answer.body else ""
    expected = slug in REFUSALS.get(answer.status, set()) or UNKNOWN.get((route, answer.status)) == slug
    well_formed(answer)
    if expected and len(answer.body) < 20_000:
        return []
    return [f"{route}: {bad.why}, {bad.body[:80]!r}: {answer.status} {answer.body[:200]!r}"]


async def test_every_good_body_is_good(client: Client, boss: Person, buyer: Person):
    """Else the bodies above might be refused for another reason."""
    sale = await put_on_sale(boss)
    order = (await buyer.buy(sale, "kept")).json()["orderId"]
    room = await a_room(buyer)
    await a_talk(buyer, boss)
    good = good_bodies(sale, order, room, boss.id)
    assert set(good) == {f"{method} {path}" for method, path, _ in await with_bodies(client)}
    for route, body in good.items():
        method, path = route.split()
        person = boss if path.startswith(("/v1/products", "/v1/sales")) and "purchases" not in path else buyer
        address = address_of(path, sale, room, boss.id)
        answer = await person.ask(method, address, json=body, headers={"Idempotency-Key": fresh()})
        assert answer.status in (200, 201, 202) or (route, answer.status) in UNKNOWN, (route, answer.body)


async def test_a_body_of_one_mebibyte_is_read_and_one_byte_more_is_not(client: Client, buyer: Person):
    for method, path, _ in await with_bodies(client):
        address = path.replace("{id}", "0" * 32)
        headers = {"Idempotency-Key": "k", "Content-Type": JSON}
        # A message is as long as a frame.
        most = 1 << 16 if path == "/v1/messages" else 1 << 20
        full = await buyer.ask(method, address, body=b'"' + b"x" * (most - 2) + b'"', headers=headers)
        assert full.status in (403, 422), (method, path, full.status)
        over = await buyer.ask(method, address, body=b'"' + b"x" * (most - 1) + b'"', headers=headers)
        refused(over, 413, "content-too-large")


async def test_every_wrong_field_is_told_at_once(boss: Person):
    answer = await boss.post("/v1/products", json={"name": 1, "price": "x", "images": ["/a", 2], "colour": "green"})
    refused(answer, 422, "validation-failed")
    told = {error["pointer"] for error in answer.json()["errors"]}
    assert told == {"/name", "/price", "/images/1", "/colour"}


async def test_what_was_sent_is_not_repeated_in_the_answer(client: Client):
    for body in ({"username": "a", "password": "hunter2hunter2"}, {"username": 1, "password": "hunter2hunter2"}):
        answer = await client.post("/v1/auth/register", json=body)
        refused(answer, 422, "validation-failed")
        assert b"hunter2" not in answer.body


async def test_a_body_where_none_belongs_changes_nothing(client: Client, boss: Person):
    buyer = await log_in(client)
    sale = await put_on_sale(boss)
    order = (await buyer.buy(sale, "k")).json()["orderId"]
    answer = await buyer.post(f"/v1/orders/{order}/cancel", body=b"\xff{", headers={"Content-Type": JSON})
    assert (answer.status, answer.json()["status"]) == (200, "cancelled")
    assert (await buyer.ask("GET", "/v1/me", body=b"{", headers={"Content-Type": JSON})).status == 200
