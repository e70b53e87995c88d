"""Ids that are none, ids of others, and addresses that try to lead elsewhere."""

from __future__ import annotations

import re
from urllib.parse import quote

from teahouse.web.client import Client
from tests.journeys.people import Person, books, fresh, put_on_sale, refused, well_formed
from tests.journeys.servers import Running

GOOD = "0190a0c0d0e07000a000000000000000"
MALFORMED = [
    GOOD.upper(), GOOD[:31], GOOD + "0", "0190a0c0-d0e0-7000-a000-000000000000", "g" * 32, "1", "-1", "null", "*", "%",
    "{id}", "..", ".", "../../etc/passwd", "..\\..", "\0", GOOD + "\0", GOOD + "\n", " " + GOOD, GOOD + " ", "茶",
    "\u202e", "\uff10" * 32, "' OR '1'='1", "$(id)", "<script>", "a" * 8000, "%2e%2e", GOOD + "/..",
    GOOD + ";x", GOOD + ".json",
]  # fmt: skip
ROUTES = [
    ("GET", "/v1/users/{}"),
    ("DELETE", "/v1/auth/sessions/{}"),
    ("GET", "/v1/products/{}"),
    ("PUT", "/v1/products/{}"),
    ("GET", "/v1/sales/{}"),
    ("PUT", "/v1/sales/{}/stock"),
    ("GET", "/v1/sales/{}/reconciliation"),
    ("POST", "/v1/sales/{}/purchases"),
    ("GET", "/v1/orders/{}"),
    ("POST", "/v1/orders/{}/cancel"),
    ("GET", "/v1/rooms/{}/members"),
    ("POST", "/v1/rooms/{}/members"),
    ("DELETE", "/v1/rooms/{}/members/{}"),
    ("GET", "/v1/rooms/{}/messages"),
    ("PUT", "/v1/rooms/{}/read"),
    ("GET", "/v1/users/{}/messages"),
    ("PUT", "/v1/users/{}/read"),
]
BODIES = {
    "/v1/products/{}": {"name": "x", "price": 1},
    "/v1/sales/{}/stock": {"stock": 1},
    "/v1/sales/{}/purchases": {"quantity": 1},
    "/v1/rooms/{}/members": {"userIds": [GOOD]},
    "/v1/rooms/{}/read": {"seq": 1},
    "/v1/users/{}/read": {"seq": 1},
}


async def test_an_id_that_is_none_is_not_found_on_any_route(house: Running, boss: Person):
    for method, route in ROUTES:
        for malformed in MALFORMED:
            path = route.replace("{}", quote(malformed, safe=""))
            body = {"json": BODIES[route]} if method in ("PUT", "POST") and route in BODIES else {}
            answer = await boss.ask(method, path, headers={"Idempotency-Key": fresh()}, **body)
            assert answer.status in (400, 404), (method, path, answer.status)
            well_formed(answer)
    assert "Traceback" not in house.said


async def test_every_route_with_an_id_is_tried_here(client: Client):
    document = (await client.get("/openapi.json")).json()
    with_ids = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, methods in document["paths"].items()
        if "{" in path
        for method in methods
    }
    assert with_ids == set(ROUTES)


async def test_an_address_that_is_no_utf_8_or_climbs_is_a_4xx(client: Client):
    for path in (
        "/%", "/%zz", "/%ff", "/%c0%af", "/%00", "/v1/products/%ff", "/v1/%2e%2e/healthz", "/..", "/../../etc/passwd",
        "/v1/../healthz", "/%2e%2e/%2e%2e/etc/passwd", "/problems/..%2f..%2fsecret.key", "/problems/%00", "/;/healthz",
        "/healthz/", "/healthz%20", "/healthz%00", "/HEALTHZ", "/docs/x", "/openapi.json/x", "/metrics/..",
    ):  # fmt: skip
        answer = await client.get(path)
        assert answer.status in (400, 404), (path, answer.status)
        well_formed(answer)


async def test_a_query_that_cannot_be_read_is_a_4xx(buyer: Person):
    for query in ("limit=%ff", "%ff=1", "limit=%00", "&".join(f"a{number}=1" for number in range(1000)), "cursor=%zz"):
        answer = await buyer.get(f"/v1/orders?{query}")
        assert answer.status in (400, 422), (query, answer.status)
        well_formed(answer)
    for everywhere in ("yes please", "2", "", "True\0"):
        answer = await buyer.post(f"/v1/auth/logout?everywhere={quote(everywhere)}")
        refused(answer, 422, "validation-failed")
    assert (await buyer.get("/v1/me")).status == 200


async def test_a_query_nobody_asked_for_is_ignored(boss: Person, buyer: Person):
    sale = await put_on_sale(boss)
    assert (await buyer.get("/v1/me?id=1&role=admin")).json()["role"] == "user"
    path = f"/v1/sales/{sale['id']}/purchases?quantity=99&buyerId={boss.id}"
    answer = await buyer.post(path, json={"quantity": 1}, headers={"Idempotency-Key": "k"})
    assert (answer.status, answer.json()["quantity"]) == (202, 1)
    assert (await books(boss, sale))["reserved"] == 1
