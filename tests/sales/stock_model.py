"""What the shop should say and keep, without batches, scripts, streams or SQL: the model of the random schedules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

LIMIT, PRICE, LASTS, PAY = 3, 100, 900, 20


@dataclass
class ModelOrder:
    sale: int
    buyer: str
    key: str
    quantity: int
    pay_before: float
    status: str = "reserved"
    version: int = 1
    id: str = ""

    def become(self, status: str) -> str:
        self.status, self.version = status, self.version + 1
        return status

    @property
    def counts(self) -> bool:
        return self.status in ("reserved", "paid")


@dataclass
class Model:
    """Several sales of the same terms, numbered. Each verb returns what the caller is told."""

    now: float
    starts: float
    ends: float
    stocks: list[int]
    orders: list[ModelOrder] = field(default_factory=list)
    payments: dict[str, tuple[str, int, str, str]] = field(default_factory=dict)

    def of(self, sale: int) -> Iterator[ModelOrder]:
        return (order for order in self.orders if order.sale == sale)

    def units(self, sale: int, *statuses: str) -> int:
        return sum(order.quantity for order in self.of(sale) if order.status in statuses)

    def remaining(self, sale: int) -> int:
        return self.stocks[sale] - self.units(sale, "reserved", "paid")

    def tally(self, sale: int) -> tuple[int, int, int, int]:
        return (
            self.stocks[sale],
            self.remaining(sale),
            self.units(sale, "reserved"),
            self.units(sale, "paid"),
        )

    def find(self, order_id: str) -> ModelOrder | None:
        return next((order for order in self.orders if order.id == order_id), None)

    def buy(self, sale: int, buyer: str, key: str, quantity: int) -> ModelOrder | str:
        for order in self.of(sale):
            if (order.buyer, order.key) == (buyer, key):
                return order if order.quantity == quantity else "IdempotencyMismatch"
        refusal = self._refusal(sale, buyer, quantity)
        if refusal:
            return refusal
        order = ModelOrder(sale, buyer, key, quantity, self.now + PAY)
        self.orders.append(order)
        return order

    def held(self, sale: int, buyer: str) -> int:
        return sum(order.quantity for order in self.of(sale) if order.buyer == buyer and order.counts)

    def _refusal(self, sale: int, buyer: str, quantity: int) -> str:
        if self.now < self.starts:
            return "SaleNotStarted"
        if self.now >= self.ends:
            return "SaleEnded"
        if self.held(sale, buyer) + quantity > LIMIT:
            return "LimitReached"
        return "SoldOut" if quantity > self.remaining(sale) else ""

    def cancel(self, order_id: str, buyer: str) -> str:
        order = self.find(order_id)
        if order is None or order.buyer != buyer:
            return "NotFound"
        if order.status == "cancelled":
            return "cancelled"
        return order.become("cancelled") if order.status == "reserved" else "OrderNotCancellable"

    def pay(self, order_id: str, amount: int, transaction: str) -> str:
        """The payment's state and reason, or the problem."""
        if transaction in self.payments:
            known, paid, *told = self.payments[transaction]
            return " ".join(told) if (known, paid) == (order_id, amount) else "TransactionReused"
        reason = self._hindrance(self.find(order_id), amount)
        state = "refund-due" if reason else "settled"
        self.payments[transaction] = (order_id, amount, state, reason)
        return f"{state} {reason}"

    def _hindrance(self, order: ModelOrder | None, amount: int) -> str:
        if order is None:
            return "unknown-order"
        if order.status == "paid":
            return "already-paid"
        if amount != order.quantity * PRICE:
            return "wrong-amount"
        if order.status != "reserved" and self.remaining(order.sale) < order.quantity:
            return "sold-out-meanwhile"
        if order.status != "reserved" and self.held(order.sale, order.buyer) + order.quantity > LIMIT:
            return "limit-reached"
        order.become("paid")
        return ""

    def expire(self) -> int:
        due = [order for order in self.orders if order.status == "reserved" and order.pay_before <= self.now]
        for order in due:
            order.become("expired")
        return len(due)

    def restock(self, sale: int, stock: int) -> str:
        if stock < self.units(sale, "reserved", "paid"):
            return "StockNotReducible"
        self.stocks[sale] = stock
        return "ok"
