"""The shop over HTTP: who may do what, what hostile input gets, and what the answers look like."""

from __future__ import annotations

import msgspec
import pytest

from teahouse.accounts import Admin, Caller
from teahouse.problems import Forbidden, Unauthorized
from teahouse.sales.routes import install
from teahouse.settings import SalesSettings
from teahouse.web import App, TestClient
from tests.sales.shop import ANN, BOB

NOBODY = "f" * 32
ADMIN = {"x-caller": ANN, "x-role": "admin"}
BUYER = {"x-caller": ANN}
OTHER = {"x-caller": BOB}


def caller(request) -> Caller:
    name = request.header("x-caller")
    if name is None:
        raise Unauthorized
    return Caller(user_id=name, session_id="s", role=request.header("x-role") or "user", issued_at=0, expires_at=0)


def admin(request) -> Admin:
    found = caller(request)
    if found.role != "admin":
        raise Forbidden
    return Admin(**msgspec.structs.asdict(found))


@pytest.fixture
async def client(shop):
    app = App()
    app.provide(Caller, caller, security="bearer")
    app.provide(Admin, admin, security="bearer")
    install(app, shop.service, clock=shop.clock, sandbox=True)
    async with TestClient(app) as client:
        yield client


def terms(shop, **changes):
    return {
        "productId": shop.product_id,
        "stock": 10,
        "price": 300,
        "startsAt": "2026-01-01T08:00:00+08:00",
        "endsAt": "2026-01-01T01:00:00Z",
        "perBuyerLimit": 2,
        "payWithinSeconds": 60,
        **changes,
    }


async def opened(client, shop, **changes):
    answer = await client.post("/v1/sales", json=terms(shop, **changes), headers=ADMIN)
    assert answer.status == 201, answer.body
    return answer.json()


def purchase(client, sale, *, key="k", quantity=1, headers=BUYER):
    named = {**headers, "Idempotency-Key": key}
    return client.post(f"/v1/sales/{sale['id']}/purchases", json={"quantity": quantity}, headers=named)


async def test_a_product_is_written_replaced_and_read_by_everybody(client):
    body = {"name": "茶", "price": 990, "images": ["https://example.com/1.png"]}
    made = (await client.post("/v1/products", json=body, headers=ADMIN)).json()
    assert made == {**body, "id": made["id"], "description": ""}
    path = f"/v1/products/{made['id']}"
    replaced = await client.put(path, json={"name": "Tea", "price": 1, "description": "green"}, headers=ADMIN)
    wanted = {"id": made["id"], "name": "Tea", "price": 1, "description": "green", "images": []}
    assert replaced.json() == wanted
    assert (await client.get(path)).json() == wanted
    listed = (await client.get("/v1/products?limit=1")).json()
    assert listed["items"] == [wanted]
    rest = (await client.get(f"/v1/products?limit=1&cursor={listed['nextCursor']}")).json()
    assert (len(rest["items"]), rest["nextCursor"]) == (1, None)
    assert (await client.put(f"/v1/products/{NOBODY}", json=body, headers=ADMIN)).status == 404
    assert (await client.get(f"/v1/products/{NOBODY}")).status == 404


async def test_a_sale_shows_its_terms_what_remains_and_the_servers_time(client, shop):
    sale = await opened(client, shop)
    wanted = {
        **terms(shop),
        "id": sale["id"],
        "startsAt": "2026-01-01T00:00:00Z",
        "remaining": 10,
        "status": "open",
        "serverTime": "2026-01-01T00:00:00Z",
    }
    assert sale == wanted
    await purchase(client, sale, quantity=2)
    assert (await client.get(f"/v1/sales/{sale['id']}")).json() == {**wanted, "remaining": 8}
    assert (await client.get("/v1/sales")).json() == {"items": [{**wanted, "remaining": 8}], "nextCursor": None}
    shop.clock.advance(3600)
    assert (await client.get(f"/v1/sales/{sale['id']}")).json()["status"] == "ended"


async def test_a_purchase_asked_again_is_answered_with_the_same_bytes_whatever_became_of_the_order(client, shop):
    sale = await opened(client, shop)
    first = await purchase(client, sale, quantity=2)
    assert first.status == 202
    order = first.json()
    assert order == {
        "orderId": order["orderId"],
        "saleId": sale["id"],
        "quantity": 2,
        "amount": 600,
        "status": "reserved",
        "payBefore": "2026-01-01T00:01:00Z",
    }
    await client.post(f"/v1/orders/{order['orderId']}/cancel", headers=BUYER)
    again = await purchase(client, sale, quantity=2)
    assert (again.status, again.body) == (202, first.body)


async def test_each_refusal_of_a_purchase_has_its_name(client, shop):
    sale = await opened(client, shop, stock=3)
    early = await opened(client, shop, startsAt="2026-01-01T00:30:00Z")
    await purchase(client, sale, quantity=2)
    named = {
        "idempotency-mismatch": await purchase(client, sale, quantity=1),
        "limit-reached": await purchase(client, sale, key="2"),
        "sold-out": await purchase(client, sale, quantity=2, headers=OTHER),
        "sale-not-started": await purchase(client, early),
        "idempotency-key-missing": await purchase(client, sale, key=""),
        "validation-failed": await purchase(client, sale, key="k" * 65),
        "not-found": await purchase(client, {"id": NOBODY}),
        "unauthorized": await purchase(client, sale, headers={}),
    }
    shop.clock.advance(3600)
    named["sale-ended"] = await purchase(client, sale, key="3")
    for slug, answer in named.items():
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == f"/problems/{slug}"
    assert [answer.status for answer in named.values()] == [422, 409, 409, 409, 400, 422, 404, 401, 409]
    without = await client.post(f"/v1/sales/{sale['id']}/purchases", json={"quantity": 1}, headers=BUYER)
    assert (without.status, without.json()["type"]) == (400, "/problems/idempotency-key-missing")


async def test_an_order_is_seen_paid_and_cancelled_by_its_buyer_alone(client, shop):
    sale = await opened(client, shop)
    made = [(await purchase(client, sale, key=key)).json() for key in "12"]
    path = f"/v1/orders/{made[0]['orderId']}"
    assert (await client.get(path, headers=OTHER)).status == 404
    assert (await client.post(f"{path}/cancel", headers=OTHER)).status == 404
    assert (await client.get("/v1/orders", headers=OTHER)).json() == {"items": [], "nextCursor": None}
    page = (await client.get("/v1/orders?limit=1", headers=BUYER)).json()
    assert page["items"][0]["orderId"] == made[1]["orderId"]
    rest = (await client.get(f"/v1/orders?cursor={page['nextCursor']}", headers=BUYER)).json()
    assert [order["orderId"] for order in rest["items"]] == [made[0]["orderId"]]
    body = {"orderId": made[0]["orderId"]}
    assert (await client.post("/v1/sandbox/payments", json=body, headers=OTHER)).status == 404
    paid = (await client.post("/v1/sandbox/payments", json=body, headers=BUYER)).json()
    assert (paid["state"], paid["amount"]) == ("settled", 300)
    assert (await client.get(path, headers=BUYER)).json()["status"] == "paid"
    refused = await client.post(f"{path}/cancel", headers=BUYER)
    assert (refused.status, refused.json()["type"]) == (409, "/problems/order-not-cancellable")
    cancelled = await client.post(f"/v1/orders/{made[1]['orderId']}/cancel", headers=BUYER)
    assert (cancelled.status, cancelled.json()["status"]) == (200, "cancelled")


async def test_the_books_of_a_sale_are_open_to_admins(client, shop):
    sale = await opened(client, shop)
    await purchase(client, sale, quantity=2)
    path = f"/v1/sales/{sale['id']}/reconciliation"
    assert (await client.get(path, headers=ADMIN)).json() == {
        "initial": 10,
        "remaining": 8,
        "reserved": 2,
        "sold": 0,
        "orders": 2,
        "difference": 0,
        "explanations": [],
    }
    assert (await client.get(path, headers=BUYER)).status == 403


async def test_stock_is_changed_by_admins(client, shop):
    sale = await opened(client, shop)
    await purchase(client, sale, quantity=2)
    path = f"/v1/sales/{sale['id']}/stock"
    more = (await client.put(path, json={"stock": 12}, headers=ADMIN)).json()
    assert (more["stock"], more["remaining"]) == (12, 10)
    assert (await client.put(path, json={"stock": 1}, headers=ADMIN)).status == 409
    assert (await client.put(f"/v1/sales/{NOBODY}/stock", json={"stock": 1}, headers=ADMIN)).status == 404


async def test_what_a_sale_leaves_out_is_as_the_shop_has_it(shop):
    app = App()
    app.provide(Caller, caller, security="bearer")
    app.provide(Admin, admin, security="bearer")
    defaults = SalesSettings(pay_within_seconds=120, per_buyer_limit=3)
    install(app, shop.service, clock=shop.clock, sandbox=False, defaults=defaults)
    short = {name: value for name, value in terms(shop).items() if name not in ("perBuyerLimit", "payWithinSeconds")}
    async with TestClient(app) as client:
        answers = [
            (await client.post("/v1/sales", json={**short, "stock": stock}, headers=ADMIN)).json() for stock in (10, 2)
        ]
    assert [(each["perBuyerLimit"], each["payWithinSeconds"]) for each in answers] == [(3, 120), (2, 120)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/products"),
        ("PUT", f"/v1/products/{NOBODY}"),
        ("POST", "/v1/sales"),
        ("PUT", f"/v1/sales/{NOBODY}/stock"),
    ],
)
async def test_what_admins_do_is_closed_to_everybody_else(client, method, path):
    assert (await client.request(method, path, json={}, headers=BUYER)).status == 403
    assert (await client.request(method, path, json={})).status == 401


@pytest.mark.parametrize("quantity", [0, -1, 1.5, "1", True, None, 10**9 + 1, 10**30, [1], {"n": 1}], ids=str)
async def test_a_hostile_quantity_is_refused_and_changes_no_stock(client, shop, quantity):
    sale = await opened(client, shop)
    answer = await purchase(client, sale, quantity=quantity)
    assert (answer.status, answer.json()["type"]) == (422, "/problems/validation-failed")
    assert (await client.get(f"/v1/sales/{sale['id']}")).json()["remaining"] == 10


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"quantity": 1', 400),
        (b'{"quantity": "\xff"}', 400),
        (b"[1]", 422),
        (b"null", 422),
        (b"{}", 422),
        (b'{"quantity": 1, "price": 0}', 422),
    ],
)
async def test_a_hostile_body_is_refused_and_changes_no_stock(client, shop, body, status):
    sale = await opened(client, shop)
    headers = {**BUYER, "Idempotency-Key": "k", "Content-Type": "application/json"}
    answer = await client.post(f"/v1/sales/{sale['id']}/purchases", body=body, headers=headers)
    assert answer.status == status, answer.body
    assert (await client.get(f"/v1/sales/{sale['id']}")).json()["remaining"] == 10


@pytest.mark.parametrize("key", ["a b", "k" * 65, "schl\xfcssel"])
async def test_a_hostile_key_is_refused_by_name(client, shop, key):
    sale = await opened(client, shop)
    answer = await purchase(client, sale, key=key)
    assert answer.status == 422
    assert answer.json()["errors"][0]["pointer"] == "header:Idempotency-Key"


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"stock": 0}, ["/stock"]),
        ({"stock": 10**9 + 1}, ["/stock"]),
        ({"price": -1}, ["/price"]),
        ({"price": 10**9 + 1}, ["/price"]),
        ({"perBuyerLimit": 11}, ["/perBuyerLimit"]),
        ({"perBuyerLimit": 0}, ["/perBuyerLimit"]),
        ({"payWithinSeconds": 0}, ["/payWithinSeconds"]),
        ({"payWithinSeconds": 7 * 86400 + 1}, ["/payWithinSeconds"]),
        ({"startsAt": "2026-01-01T00:00:00"}, ["/startsAt"]),
        ({"startsAt": "yesterday"}, ["/startsAt"]),
        ({"startsAt": "0001-01-01T00:00:00+14:00"}, ["/startsAt"]),
        ({"endsAt": "9999-12-31T23:59:59-14:00"}, ["/endsAt"]),
        ({"endsAt": "2026-01-01T00:00:00Z"}, ["/endsAt"]),
        ({"productId": "x"}, ["/productId"]),
        ({"endsAt": "2025-01-01T00:00:00Z", "perBuyerLimit": 11}, ["/endsAt", "/perBuyerLimit"]),
    ],
    ids=str,
)
async def test_impossible_terms_are_refused_place_by_place(client, shop, changes, pointers):
    answer = await client.post("/v1/sales", json=terms(shop, **changes), headers=ADMIN)
    assert answer.status == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == pointers


async def test_a_sale_of_a_product_that_does_not_exist_is_not_found(client, shop):
    answer = await client.post("/v1/sales", json=terms(shop, productId=NOBODY), headers=ADMIN)
    assert (answer.status, answer.json()["detail"]) == (404, "There is no such product.")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "  "},
        {"name": "x" * 201},
        {"price": 0.5},
        {"images": ["javascript:alert(1)"]},
        {"images": ["https://["]},
        {"images": ["//elsewhere/a.png"]},
        {"images": ["/a.png\n"]},
        {"images": ["/x"] * 21},
        {"description": 1},
        {"id": NOBODY},
    ],
    ids=str,
)
async def test_an_impossible_product_is_refused(client, changes):
    body = {"name": "Tea", "price": 1, **changes}
    assert (await client.post("/v1/products", json=body, headers=ADMIN)).status == 422


@pytest.mark.parametrize("path", ["/v1/products", "/v1/sales", "/v1/orders"])
@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=x", "cursor=", "limit=1&limit=2"])
async def test_a_hostile_page_is_refused(client, path, query):
    assert (await client.get(f"{path}?{query}", headers=BUYER)).status == 422


@pytest.mark.parametrize("id_", ["x", "F" * 32, "%00", "%FF", "a" * 4000, "%27%20OR%201=1"])
async def test_an_id_that_cannot_be_is_not_found(client, id_):
    for path in ("/v1/products/{}", "/v1/sales/{}", "/v1/orders/{}", "/v1/sales/{}/reconciliation"):
        answer = await client.get(path.format(id_), headers=ADMIN)
        assert answer.status in (400, 404)
    for path, method in (("/v1/orders/{}/cancel", "POST"), ("/v1/products/{}", "PUT")):
        answer = await client.request(method, path.format(id_), json={"name": "x", "price": 1}, headers=ADMIN)
        assert answer.status in (400, 404)


@pytest.mark.parametrize(
    "changes", [{"amount": -1}, {"amount": 2**63}, {"transactionId": ""}, {"transactionId": "x" * 65}, {"orderId": 1}]
)
async def test_a_hostile_sandbox_payment_is_refused(client, shop, changes):
    body = {"orderId": NOBODY, **changes}
    assert (await client.post("/v1/sandbox/payments", json=body, headers=BUYER)).status == 422


async def test_a_payment_of_the_wrong_amount_or_a_used_transaction_says_so(client, shop):
    sale = await opened(client, shop)
    made = [(await purchase(client, sale, key=key)).json() for key in "12"]
    wrong = {"orderId": made[0]["orderId"], "amount": 2**63 - 1, "transactionId": "t"}
    answer = (await client.post("/v1/sandbox/payments", json=wrong, headers=BUYER)).json()
    assert (answer["state"], answer["reason"]) == ("refund-due", "wrong-amount")
    reused = {"orderId": made[1]["orderId"], "transactionId": "t"}
    refused = await client.post("/v1/sandbox/payments", json=reused, headers=BUYER)
    assert (refused.status, refused.json()["type"]) == (409, "/problems/transaction-reused")


async def test_without_the_sandbox_nobody_can_mark_an_order_paid(shop):
    app = App()
    app.provide(Caller, caller)
    app.provide(Admin, admin)
    install(app, shop.service, clock=shop.clock, sandbox=False)
    async with TestClient(app) as client:
        answer = await client.post("/v1/sandbox/payments", json={"orderId": NOBODY}, headers=BUYER)
        assert answer.status == 404


@pytest.mark.parametrize("keeper", ["sql"])
async def test_a_failing_database_is_a_503_with_the_time_to_come_back(client, shop):
    sale = await opened(client, shop)
    shop.database.fault = "before-commit"
    answer = await purchase(client, sale)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"] == "/problems/database-unavailable"
    shop.clock.advance(2)
    assert (await purchase(client, sale)).status == 202
