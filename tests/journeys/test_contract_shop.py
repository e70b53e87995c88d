"""The contract's rows about products, sales, purchases and orders, over real sockets."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest

from teahouse.web.client import Client
from tests.journeys.people import (
    Person,
    books,
    fresh,
    log_in,
    put_again_on_sale,
    put_on_sale,
    refused,
    sale_terms,
)

PRODUCT = {"id", "name", "description", "images", "price"}
SALE = {
    "id", "productId", "stock", "price", "startsAt", "endsAt", "perBuyerLimit", "payWithinSeconds", "remaining",
    "status", "serverTime",
}  # fmt: skip
RESERVED = {"orderId", "saleId", "quantity", "amount", "status", "payBefore"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


async def test_an_admin_adds_a_product_and_replaces_it_in_full(boss: Person, nobody: Person):
    tea = {"name": "Longjing 龙井", "description": "100 g", "images": ["/a.png"], "price": 8800}
    added = await boss.post("/v1/products", json=tea)
    assert added.status == 201
    assert added.json() == {"id": added.json()["id"], **tea}
    path = f"/v1/products/{added.json()['id']}"
    assert (await nobody.get(path)).json() == added.json()
    replaced = await boss.put(path, json={"name": "Biluochun", "price": 1})
    assert replaced.status == 200
    assert (await nobody.get(path)).json() == {**added.json(), **replaced.json(), "description": "", "images": []}
    refused(await boss.put(f"/v1/products/{'0' * 32}", json=tea), 404, "not-found")


async def test_only_an_admin_touches_the_shop(boss: Person, buyer: Person, nobody: Person):
    sale = await put_on_sale(boss)
    attempts = [
        ("POST", "/v1/products", {"name": "x", "price": 1}),
        ("PUT", f"/v1/products/{sale['productId']}", {"name": "x", "price": 1}),
        ("POST", "/v1/sales", sale_terms(sale["productId"])),
        ("PUT", f"/v1/sales/{sale['id']}/stock", {"stock": 99}),
    ]
    for method, path, body in attempts:
        refused(await buyer.ask(method, path, json=body), 403, "forbidden")
        refused(await nobody.ask(method, path, json=body), 401, "unauthorized")
    refused(await buyer.get(f"/v1/sales/{sale['id']}/reconciliation"), 403, "forbidden")
    assert (await nobody.get(f"/v1/products/{sale['productId']}")).json()["name"] == "Longjing"
    assert (await books(boss, sale))["initial"] == 10


async def test_a_sale_shows_its_terms_and_what_is_left(boss: Person, nobody: Person, buyer: Person):
    sale = await put_on_sale(boss, stock=7)
    assert set(sale) == SALE
    assert (sale["stock"], sale["remaining"], sale["status"]) == (7, 7, "open")
    assert all(MOMENT.fullmatch(sale[name]) for name in ("startsAt", "endsAt", "serverTime"))
    assert (await buyer.buy(sale, "k", 2)).status == 202
    assert (await nobody.get(f"/v1/sales/{sale['id']}")).json()["remaining"] == 5
    refused(await nobody.get(f"/v1/sales/{'0' * 32}"), 404, "not-found")


async def test_a_sale_that_makes_no_sense_is_refused(boss: Person):
    product = (await put_on_sale(boss))["productId"]
    now = datetime.now(UTC)
    for terms in (
        {"startsAt": now.isoformat(), "endsAt": now.isoformat()},
        {"stock": 0},
        {"stock": 1, "perBuyerLimit": 2},
        {"price": -1},
        {"payWithinSeconds": 0},
        {"startsAt": "2026-01-01T00:00:00"},
        {"endsAt": "9999-12-31T23:59:59Z"},
        {"startsAt": "0001-01-01T00:00:00+14:00"},
    ):
        refused(await boss.post("/v1/sales", json=sale_terms(product, **terms)), 422, "validation-failed")
    refused(await boss.post("/v1/sales", json=sale_terms("0" * 32)), 404, "not-found")


async def test_lists_come_in_pages_without_gaps_or_repeats(boss: Person, nobody: Person, buyer: Person):
    product = (await put_on_sale(boss))["productId"]
    sales = [await put_again_on_sale(boss, product) for _ in range(5)]
    orders = [(await buyer.buy(sale, fresh())).json()["orderId"] for sale in sales]
    for person, path, key, wanted in (
        (nobody, "/v1/sales", "id", [sale["id"] for sale in sales]),
        (buyer, "/v1/orders", "orderId", orders),
    ):
        seen: list[str] = []
        cursor = ""
        while not set(wanted) <= set(seen):
            page = (await person.get(f"{path}?limit=2{cursor}")).json()
            assert set(page) == {"items", "nextCursor"}
            assert len(page["items"]) <= 2
            seen += [item[key] for item in page["items"]]
            cursor = f"&cursor={page['nextCursor']}"
        assert [item for item in seen if item in wanted] == list(reversed(wanted))
        assert len(seen) == len(set(seen))
    assert (await buyer.get("/v1/orders?limit=5")).json()["nextCursor"] is None
    assert len((await nobody.get("/v1/sales?limit=100")).json()["items"]) <= 100


@pytest.mark.parametrize("path", ["/v1/products", "/v1/sales", "/v1/orders"])
@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=101", "limit=-1", "limit=abc", "limit=", "limit=1.5", "limit=9" + "9" * 30,
        "limit=%EF%BC%91", "limit=1&limit=2", "cursor=", "cursor=abc", "cursor=../x", "cursor=%00",
        "cursor=" + "A" * 32, "cursor=" + "0" * 31, "cursor=" + "0" * 33, "cursor=%27%20OR%201=1--",
    ],
)  # fmt: skip
async def test_a_page_that_cannot_be_is_refused(buyer: Person, path: str, query: str):
    refused(await buyer.get(f"{path}?{query}"), 422, "validation-failed")


async def test_a_cursor_of_nothing_is_an_empty_or_a_full_page_but_no_mistake(buyer: Person):
    for cursor in ("0" * 32, "f" * 32):
        assert (await buyer.get(f"/v1/orders?cursor={cursor}")).status == 200


async def test_a_purchase_is_accepted_and_its_order_readable_at_once(boss: Person, buyer: Person):
    sale = await put_on_sale(boss)
    answer = await buyer.buy(sale, "k", 2)
    assert answer.status == 202
    made = answer.json()
    assert set(made) == RESERVED
    assert (made["saleId"], made["quantity"], made["amount"], made["status"]) == (sale["id"], 2, 13200, "reserved")
    assert MOMENT.fullmatch(made["payBefore"])
    [listed] = (await buyer.get("/v1/orders")).json()["items"]
    moments = {"createdAt": listed["createdAt"], "changedAt": listed["createdAt"]}
    assert listed == {**made, "id": made["orderId"], **moments}
    assert (await buyer.get(f"/v1/orders/{made['orderId']}")).json() == listed
    assert await books(boss, sale) == {
        "initial": 10, "remaining": 8, "reserved": 2, "sold": 0, "orders": 2, "difference": 0, "explanations": [],
    }  # fmt: skip


async def test_the_same_key_and_body_get_the_same_bytes_and_one_order(boss: Person, buyer: Person):
    sale = await put_on_sale(boss)
    first = await buyer.buy(sale, "again")
    answers = await asyncio.gather(*(buyer.buy(sale, "again") for _ in range(10)))
    assert {(answer.status, answer.body) for answer in answers} == {(202, first.body)}
    spaced = await buyer.post(
        f"/v1/sales/{sale['id']}/purchases",
        body=b' {"quantity" : 1} ',
        headers={"Idempotency-Key": "again", "Content-Type": "application/json; charset=utf-8"},
    )
    assert spaced.body == first.body
    assert (await books(boss, sale))["orders"] == 1


async def test_the_same_key_for_another_body_is_a_mismatch(boss: Person, buyer: Person):
    sale = await put_on_sale(boss)
    assert (await buyer.buy(sale, "k", 1)).status == 202
    refused(await buyer.buy(sale, "k", 2), 422, "idempotency-mismatch")
    assert (await books(boss, sale))["orders"] == 1


async def test_a_key_belongs_to_its_buyer_and_its_sale(client: Client, boss: Person, buyer: Person):
    one, two = await put_on_sale(boss), await put_on_sale(boss)
    stranger = await log_in(client)
    answers = [await buyer.buy(one, "k"), await buyer.buy(two, "k"), await stranger.buy(one, "k")]
    assert [answer.status for answer in answers] == [202, 202, 202]
    assert len({answer.json()["orderId"] for answer in answers}) == 3


async def test_a_purchase_needs_a_key(boss: Person, buyer: Person):
    sale = await put_on_sale(boss)
    path = f"/v1/sales/{sale['id']}/purchases"
    refused(await buyer.post(path, json={"quantity": 1}), 400, "idempotency-key-missing")
    for key in ("", " "):
        refused(await buyer.buy(sale, key), 400, "idempotency-key-missing")
    for key in ("x" * 65, "a b", "caf\u00e9", "a\tb"):
        refused(await buyer.buy(sale, key), 422, "validation-failed")
    assert (await buyer.buy(sale, "~!" * 32)).status == 202
    assert (await books(boss, sale))["orders"] == 1


async def test_a_purchase_is_refused_by_window_limit_and_stock(client: Client, boss: Person, buyer: Person):
    now = datetime.now(UTC)
    product = (await put_on_sale(boss))["productId"]
    early = await put_again_on_sale(boss, product, startsAt=(now + timedelta(minutes=30)).isoformat())
    late = await put_again_on_sale(boss, product, endsAt=(now - timedelta(seconds=1)).isoformat())
    small = await put_again_on_sale(boss, product, stock=2, perBuyerLimit=2)
    assert (early["status"], late["status"]) == ("upcoming", "ended")
    refused(await buyer.buy(early, "k"), 409, "sale-not-started")
    refused(await buyer.buy(late, "k"), 409, "sale-ended")
    refused(await buyer.buy(small, "much", 3), 409, "limit-reached")
    assert (await buyer.buy(small, "k", 2)).status == 202
    refused(await buyer.buy(small, "more"), 409, "limit-reached")
    refused(await (await log_in(client)).buy(small, "k"), 409, "sold-out")
    refused(await buyer.buy({"id": "0" * 32}, "k"), 404, "not-found")
    for sale in (early, late):
        assert (await books(boss, sale))["orders"] == 0


async def test_a_hundred_buyers_share_ten_items_and_not_one_more(client: Client, boss: Person):
    sale = await put_on_sale(boss, stock=10, perBuyerLimit=1)
    buyers = await asyncio.gather(*(log_in(client) for _ in range(100)))
    answers = await asyncio.gather(*(each.buy(sale, "k") for each in buyers))
    assert sorted(answer.status for answer in answers) == 10 * [202] + 90 * [409]
    found = await books(boss, sale)
    assert (found["remaining"], found["reserved"]) == (0, 10)


async def test_cancelling_returns_the_stock_once(boss: Person, buyer: Person):
    sale = await put_on_sale(boss)
    made = (await buyer.buy(sale, "k", 2)).json()
    path = f"/v1/orders/{made['orderId']}/cancel"
    answers = await asyncio.gather(*(buyer.post(path) for _ in range(5)))
    for answer in answers:
        if answer.status != 200:
            refused(answer, 409, "order-not-cancellable")
    assert 200 in {answer.status for answer in answers}
    assert (await buyer.get(f"/v1/orders/{made['orderId']}")).json()["status"] == "cancelled"
    assert (await books(boss, sale))["remaining"] == 10
    assert (await buyer.buy(sale, "next", 2)).status == 202


async def test_a_purchase_that_was_cancelled_is_answered_as_it_was(boss: Person, buyer: Person):
    sale = await put_on_sale(boss)
    first = await buyer.buy(sale, "k")
    await buyer.post(f"/v1/orders/{first.json()['orderId']}/cancel")
    again = await buyer.buy(sale, "k")
    assert (again.status, again.body) == (202, first.body)
    assert (await books(boss, sale))["orders"] == 0


async def test_somebody_elses_order_does_not_exist(client: Client, boss: Person, buyer: Person):
    sale = await put_on_sale(boss)
    order = (await buyer.buy(sale, "k")).json()["orderId"]
    for other in (await log_in(client), boss):
        refused(await other.get(f"/v1/orders/{order}"), 404, "not-found")
        refused(await other.post(f"/v1/orders/{order}/cancel"), 404, "not-found")
        refused(await other.post("/v1/sandbox/payments", json={"orderId": order}), 404, "not-found")
        assert order not in [item["orderId"] for item in (await other.get("/v1/orders")).json()["items"]]
    assert (await books(boss, sale))["reserved"] == 1


async def test_an_order_that_is_paid_stays_sold(boss: Person, buyer: Person):
    sale = await put_on_sale(boss)
    order = (await buyer.buy(sale, "k")).json()["orderId"]
    paid = await buyer.post("/v1/sandbox/payments", json={"orderId": order})
    assert paid.status == 200
    assert set(paid.json()) == {"transactionId", "orderId", "amount", "state", "reason"}
    assert (paid.json()["state"], paid.json()["amount"]) == ("settled", 6600)
    assert (await buyer.post("/v1/sandbox/payments", json={"orderId": order})).json() == paid.json()
    refused(await buyer.post(f"/v1/orders/{order}/cancel"), 409, "order-not-cancellable")
    assert (await buyer.get(f"/v1/orders/{order}")).json()["status"] == "paid"
    found = await books(boss, sale)
    assert (found["reserved"], found["sold"]) == (0, 1)


async def test_a_payment_of_the_wrong_amount_is_to_go_back(boss: Person, buyer: Person):
    sale = await put_on_sale(boss)
    order = (await buyer.buy(sale, "k")).json()["orderId"]
    answer = await buyer.post("/v1/sandbox/payments", json={"orderId": order, "amount": 1, "transactionId": fresh()})
    assert answer.json()["state"] == "refund-due"
    assert (await buyer.get(f"/v1/orders/{order}")).json()["status"] == "reserved"


async def test_a_transaction_counts_for_one_order(boss: Person, buyer: Person):
    sale = await put_on_sale(boss)
    one, two = [(await buyer.buy(sale, key)).json()["orderId"] for key in ("a", "b")]
    transaction = fresh()
    body = {"orderId": one, "transactionId": transaction}
    assert (await buyer.post("/v1/sandbox/payments", json=body)).status == 200
    refused(await buyer.post("/v1/sandbox/payments", json={**body, "orderId": two}), 409, "transaction-reused")


async def test_stock_is_added_and_taken_away_down_to_what_is_promised(boss: Person, buyer: Person):
    sale = await put_on_sale(boss, stock=3)
    await buyer.buy(sale, "k", 2)
    path = f"/v1/sales/{sale['id']}/stock"
    for stock in (5, 2):
        answer = await boss.put(path, json={"stock": stock})
        assert (answer.status, answer.json()["stock"], answer.json()["remaining"]) == (200, stock, stock - 2)
    refused(await boss.put(path, json={"stock": 1}), 409, "stock-not-reducible")
    refused(await boss.put(f"/v1/sales/{'0' * 32}/stock", json={"stock": 1}), 404, "not-found")
    assert (await books(boss, sale))["initial"] == 2


async def test_an_unpaid_reservation_returns_on_time_and_is_sold_to_somebody_else(client: Client, boss: Person):
    sale = await put_on_sale(boss, stock=1, perBuyerLimit=1, payWithinSeconds=1)
    slow, quick = await log_in(client), await log_in(client)
    order = (await slow.buy(sale, "k")).json()["orderId"]
    refused(await quick.buy(sale, "0"), 409, "sold-out")
    async with asyncio.timeout(20):
        tries = 1
        while (await quick.buy(sale, str(tries))).status != 202:
            tries += 1
            await asyncio.sleep(0.02)
    assert (await slow.get(f"/v1/orders/{order}")).json()["status"] == "expired"
    refused(await slow.post(f"/v1/orders/{order}/cancel"), 409, "order-not-cancellable")
    late = await slow.post("/v1/sandbox/payments", json={"orderId": order})
    assert (late.status, late.json()["state"]) == (200, "refund-due")
    await books(boss, sale)
