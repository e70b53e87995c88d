"""A shop in memory that keeps every promise but the one it is told to break."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

from teahouse.problems import (
    AccessTokenInvalid,
    BadCredentials,
    Forbidden,
    IdempotencyMismatch,
    LimitReached,
    NotFound,
    OrderNotCancellable,
    Overloaded,
    SaleNotStarted,
    SoldOut,
    WechatCodeInvalid,
)
from teahouse.web import App, Header, Request
from teahouse.web.server import Server
from tests.demo.lying_room import LyingRoom

PASSWORD = "the operator's password"


class Order(msgspec.Struct):
    id: str
    buyer: str
    key: str
    quantity: int
    pay_before: datetime
    status: str = "reserved"


class Caller(msgspec.Struct):
    name: str


class LyingShop:
    """``lie`` names the promise to break, or what makes it hard to deal with; empty is an honest shop."""

    def __init__(self, lie: str = "") -> None:
        self.lie = lie
        self.app = App()
        self.room = LyingRoom(lie)
        self.realtime_url = ""
        self.orders: list[Order] = []
        self.refused: dict[tuple[str, str], int] = {}
        self.codes: set[str] = set()
        self.turned_away: set[str] = set()
        self.sale: dict[str, Any] = {}
        self.app.provide(Caller, self.caller)
        self._accounts()
        self._shop()
        self._orders()
        self._messages()

    # --- who ---

    def caller(self, request: Request) -> Caller:
        token = (request.header("authorization") or "").removeprefix("Bearer ")
        name, _, signature = token.partition(".")
        if signature != "good" and self.lie != "believes-forgeries":
            raise AccessTokenInvalid
        return Caller(name)

    def _accounts(self) -> None:
        app = self.app

        @app.post("/v1/auth/password")
        def password(body: dict[str, str]) -> dict[str, Any]:
            if body["password"] != PASSWORD:
                raise BadCredentials
            return tokens(body["username"])

        @app.post("/v1/auth/wechat")
        def wechat(body: dict[str, str]) -> dict[str, Any]:
            if body["code"] in self.codes or self.lie == "asks-the-real-wechat":
                raise WechatCodeInvalid
            self.codes.add(body["code"])
            name = body["code"].split("-")[1]
            self.room.known.add(name)
            return tokens(name)

        @app.post("/v1/auth/refresh")
        def refresh(body: dict[str, str]) -> dict[str, Any]:
            return tokens(body["refreshToken"])

        @app.post("/v1/auth/logout", status=204)
        def logout(_caller: Caller) -> None:
            return None

        @app.get("/v1/me")
        def me(caller: Caller) -> Caller:
            return caller

    # --- the shop ---

    def _shop(self) -> None:
        app = self.app

        @app.get("/v1/products")
        def products() -> dict[str, Any]:
            if self.lie == "has-no-catalogue":
                raise NotFound
            return {"items": [], "nextCursor": None}

        @app.post("/v1/products", status=201)
        def add_product(_caller: Caller) -> dict[str, str]:
            return {"id": "p"}

        @app.get("/v1/sales")
        def sales() -> dict[str, Any]:
            return {"items": [], "nextCursor": None}

        @app.post("/v1/sales", status=201)
        def open_sale(body: dict[str, Any]) -> dict[str, Any]:
            self.sale = body | {"id": "s"}
            return self.seen()

        @app.get("/v1/sales/{sale_id}")
        def sale(sale_id: str) -> dict[str, Any]:
            return self.seen()

        @app.get("/v1/sales/{sale_id}/reconciliation")
        def books(sale_id: str) -> dict[str, int]:
            return self.books()

        @app.post("/v1/sales/{sale_id}/purchases", status=202)
        def purchase(
            sale_id: str, caller: Caller, body: dict[str, int], key: Annotated[str, Header("Idempotency-Key")]
        ) -> dict[str, Any]:
            if self.lie == "is-busy" and key not in self.turned_away:
                self.turned_away.add(key)
                raise Overloaded(retry_after=0)
            if self.lie == "speaks-gibberish":
                return {"order": "number nine"}
            return self.purchase(caller.name, key, body["quantity"])

    def purchase(self, buyer: str, key: str, quantity: int) -> dict[str, Any]:
        earlier = next((order for order in self.orders if (order.buyer, order.key) == (buyer, key)), None)
        if earlier is not None and self.lie != "forgets-the-key":
            if earlier.quantity != quantity:
                raise IdempotencyMismatch
            return self.promised(earlier)
        late = timedelta(seconds=0.1 if self.lie == "starts-late" else 0)
        if datetime.fromisoformat(self.sale["startsAt"]) + late > datetime.now(UTC):
            raise SaleNotStarted
        if self.lie == "starts-in-between" and buyer not in self.turned_away:
            self.turned_away.add(buyer)
            raise SaleNotStarted
        if self.held(buyer) + quantity > self.sale["perBuyerLimit"] and self.lie != "forgets-the-limit":
            raise SoldOut if self.lie == "gives-the-wrong-reason" else LimitReached
        slack = {"oversells": -2, "undersells": 2}.get(self.lie, 0)
        if self.remaining() < quantity + slack:
            raise SoldOut
        due = datetime.now(UTC) + timedelta(seconds=self.sale["payWithinSeconds"])
        order = Order(f"o{len(self.orders)}", buyer, key, quantity, due)
        self.orders.append(order)
        return self.promised(order)

    # --- orders ---

    def _orders(self) -> None:
        app = self.app

        @app.get("/v1/orders")
        def orders(caller: Caller) -> dict[str, Any]:
            mine = [self.shown(order) for order in self.orders if order.buyer == caller.name]
            cursor = "more" if self.lie == "has-no-last-page" else None
            return {"items": mine[1:] if self.lie == "loses-orders" else mine, "nextCursor": cursor}

        @app.get("/v1/orders/{order_id}")
        def order(order_id: str, caller: Caller) -> dict[str, Any]:
            found = self.find(order_id, caller)
            if self.lie == "shows-orders-late":
                raise NotFound
            return self.shown(found)

        @app.post("/v1/orders/{order_id}/cancel")
        def cancel(order_id: str, caller: Caller) -> dict[str, Any]:
            found = self.find(order_id, caller)
            if self.lie == "does-not-cancel":
                raise OrderNotCancellable
            if self.lie == "forgets-to-cancel":
                return self.shown(found)
            return self.became(found, "cancelled")

        @app.post("/v1/sandbox/payments")
        def pay(body: dict[str, str], caller: Caller) -> dict[str, Any]:
            found = self.find(body["orderId"], caller)
            self.expire()
            state = "settled"
            if found.status == "reserved" or (found.status == "expired" and self.remaining() >= found.quantity):
                self.became(found, "paid")
            elif found.status != "paid":
                state = "dropped" if self.lie == "drops-late-money" else "refund-due"
            return {"orderId": found.id, "state": state, "reason": ""}

    def became(self, order: Order, status: str) -> dict[str, Any]:
        order.status = status
        self.room.tell(order.buyer, self.shown(order), status)
        return self.shown(order)

    # --- the room ---

    def _messages(self) -> None:
        app = self.app

        @app.post("/v1/rooms", status=201)
        def open_room(_caller: Caller, body: dict[str, Any]) -> dict[str, str]:
            if self.lie == "has-no-rooms":
                raise NotFound
            self.room.guests.update(body["members"])
            return {"id": "r"}

        @app.post("/v1/rooms/{room_id}/members")
        def add(room_id: str, body: dict[str, list[str]]) -> dict[str, list[str]]:
            self.room.guests.update(body["userIds"])
            return {"added": body["userIds"]}

        @app.post("/v1/messages", status=201)
        def say(caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
            if self.lie == "silences-the-shop":
                raise Forbidden
            return {"id": body["id"], "to": body["to"], "seq": self.room.say(caller.name, body), "timestamp": 0}

    def find(self, order_id: str, caller: Caller) -> Order:
        found = next(order for order in self.orders if order.id == order_id)
        if found.buyer != caller.name and self.lie != "shows-orders-to-anybody":
            raise NotFound
        return found

    # --- stock ---

    def expire(self) -> None:
        if self.lie == "never-returns-stock":
            return
        for order in self.orders:
            if order.status == "reserved" and order.pay_before < datetime.now(UTC):
                self.became(order, "expired")

    def units(self, *statuses: str) -> int:
        return sum(order.quantity for order in self.orders if order.status in statuses)

    def remaining(self) -> int:
        self.expire()
        return int(self.sale["stock"]) - self.units("reserved", "paid")

    def held(self, buyer: str) -> int:
        self.expire()
        return sum(
            order.quantity for order in self.orders if order.buyer == buyer and order.status in ("reserved", "paid")
        )

    def books(self) -> dict[str, int]:
        remaining, reserved, sold = self.remaining(), self.units("reserved"), self.units("paid")
        difference = 1 if self.lie == "has-a-difference" and sold else 0
        return {
            "initial": self.sale["stock"],
            "remaining": remaining,
            "reserved": reserved,
            "sold": sold,
            "orders": reserved + sold,
            "difference": difference,
        }

    def seen(self) -> dict[str, Any]:
        return self.sale | {"serverTime": datetime.now(UTC), "remaining": max(self.remaining(), 0)}

    def promised(self, order: Order) -> dict[str, Any]:
        shown = self.shown(order) | {"status": "reserved"}
        if self.lie == "answers-the-same-differently":
            shown["asked"] = time.perf_counter_ns()
        return shown

    def shown(self, order: Order) -> dict[str, Any]:
        return {
            "orderId": order.id,
            "saleId": "s",
            "quantity": order.quantity,
            "amount": order.quantity * self.sale["price"],
            "status": order.status,
            "payBefore": order.pay_before,
        }


def tokens(name: str) -> dict[str, Any]:
    return {"accessToken": f"{name}.good", "refreshToken": name, "user": {"id": name}}


@asynccontextmanager
async def serving(shop: LyingShop) -> AsyncIterator[str]:
    """The shop on free ports; its address. A shop that lies with "has-no-sockets" has none."""
    await shop.app.startup()
    server = Server(shop.app)
    port = await server.start("127.0.0.1", 0)
    gateway = await asyncio.start_server(shop.room.socket, "127.0.0.1", 0)
    if shop.lie != "has-no-sockets":
        shop.realtime_url = f"ws://127.0.0.1:{gateway.sockets[0].getsockname()[1]}"
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        gateway.close()
        await server.stop(1)
        await shop.app.shutdown(1)
