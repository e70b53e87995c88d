"""What the shop speaks of: products, sales, orders and payments, and the steps that change them.

Money is in fen, times are Unix milliseconds in UTC, ids are 32 hex characters.
"""

from __future__ import annotations

from typing import Literal

import msgspec

OrderStatus = Literal["reserved", "paid", "cancelled", "expired"]
SaleStatus = Literal["upcoming", "open", "ended"]
PaymentState = Literal["settled", "refund-due"]

RESERVED: OrderStatus = "reserved"
PAID: OrderStatus = "paid"
CANCELLED: OrderStatus = "cancelled"
EXPIRED: OrderStatus = "expired"

MAX_STOCK = 1_000_000_000
# The largest stock at the largest price still fits a signed 64-bit amount.
MAX_PRICE = 1_000_000_000
MAX_PAY_WITHIN_SECONDS = 7 * 24 * 3600
MAX_KEY_LENGTH = 64


class Product(msgspec.Struct, frozen=True):
    """Something to sell, at its ordinary price in fen."""

    id: str
    name: str
    description: str
    images: tuple[str, ...]
    price: int
    created_at: int
    updated_at: int


class Sale(msgspec.Struct, frozen=True):
    """The terms of one flash sale; ``stock`` is what it started with plus what was added since."""

    id: str
    product_id: str
    stock: int
    price: int
    starts_at: int
    ends_at: int
    per_buyer_limit: int
    pay_within_seconds: int
    created_at: int

    def status(self, now: int) -> SaleStatus:
        """Where the sale stands at ``now``: it runs from ``starts_at`` up to, and not including, ``ends_at``."""
        if now < self.starts_at:
            return "upcoming"
        return "open" if now < self.ends_at else "ended"


class OnSale(msgspec.Struct, frozen=True):
    """A sale and what is left of it."""

    sale: Sale
    remaining: int


class Tally(msgspec.Struct, frozen=True):
    """Where every unit of a sale is. ``remaining + reserved + sold == initial``, always."""

    initial: int
    remaining: int
    reserved: int
    sold: int


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """What a buyer was promised. It never changes, so the same request is answered with the same bytes."""

    id: str
    sale_id: str
    buyer_id: str
    quantity: int
    amount: int
    created_at: int
    pay_before: int


class Order(msgspec.Struct, frozen=True):
    """A reservation and what became of it. ``changed_at`` is when it took its present status."""

    reservation: Reservation
    status: OrderStatus
    changed_at: int


class Payment(msgspec.Struct, frozen=True):
    """Money that arrived, and what it is for: it settled an order, or has to go back (``reason`` says why)."""

    transaction_id: str
    order_id: str
    amount: int
    state: PaymentState
    reason: str
    received_at: int


# --- commands: everything that moves stock ----------------------------------------------------------------------------


class Reserve(msgspec.Struct, frozen=True, gc=False):
    """One buyer's purchase. ``key`` names the attempt: the same key is the same purchase."""

    sale_id: str
    buyer_id: str
    key: str
    quantity: int

    @property
    def slot(self) -> str:
        """Unique within the sale; neither part holds a space."""
        return f"{self.buyer_id} {self.key}"


class Cancel(msgspec.Struct, frozen=True):
    """The buyer gives a reservation back."""

    order_id: str
    buyer_id: str


class Settle(msgspec.Struct, frozen=True):
    """Money arrived for an order, perhaps late, perhaps twice."""

    order_id: str
    amount: int
    transaction_id: str


class Expire(msgspec.Struct, frozen=True):
    """Returns what was not paid in time, at most ``limit`` reservations of it."""

    limit: int


class Open(msgspec.Struct, frozen=True):
    """A new sale."""

    sale: Sale


class Restock(msgspec.Struct, frozen=True):
    """The sale's stock as a whole becomes ``stock``; what is reserved or sold stays."""

    sale_id: str
    stock: int


class OrderEvent(msgspec.Struct, frozen=True):
    """An order that changed, after the change is durable."""

    reservation: Reservation
    status: OrderStatus
