"""What the server says, as far as a buyer cares. Money in fen; unknown fields are ignored."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Made(msgspec.Struct):
    """Something new, or somebody, by their id."""

    id: str


class Tokens(msgspec.Struct, rename="camel"):
    """A pair of tokens, and whose they are."""

    access_token: str
    refresh_token: str
    user: Made


class Said(msgspec.Struct):
    """A message that is stored, by its place in the room."""

    seq: int


class SaleSeen(msgspec.Struct, rename="camel"):
    """A sale; ``remaining`` may lag by a second."""

    id: str
    starts_at: datetime
    server_time: datetime
    remaining: int


class Reserved(msgspec.Struct, rename="camel"):
    """The answer to a purchase that was accepted."""

    order_id: str
    sale_id: str
    quantity: int
    amount: int
    status: str
    pay_before: datetime


class OrderSeen(msgspec.Struct, rename="camel"):
    """An order as its buyer reads it."""

    order_id: str
    sale_id: str
    quantity: int
    status: str
    pay_before: datetime


class OrderPage(msgspec.Struct, rename="camel"):
    """A buyer's orders."""

    items: list[OrderSeen]
    next_cursor: str | None = None


class PaymentSeen(msgspec.Struct, rename="camel"):
    """What became of a payment: ``settled`` or ``refund-due``."""

    order_id: str
    state: str
    reason: str = ""


class Books(msgspec.Struct, rename="camel"):
    """A sale's reconciliation. ``orders`` is what live and paid orders hold."""

    initial: int
    remaining: int
    reserved: int
    sold: int
    orders: int
    difference: int
