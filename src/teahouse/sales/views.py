"""What goes over the wire: bodies and answers, in camelCase, with times in RFC 3339."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from teahouse.clock import to_datetime
from teahouse.problems import FieldError, ValidationFailed
from teahouse.sales.model import (
    MAX_PAY_WITHIN_SECONDS,
    MAX_PRICE,
    MAX_STOCK,
    RESERVED,
    OnSale,
    Order,
    OrderStatus,
    Payment,
    PaymentState,
    Product,
    Reservation,
    SaleStatus,
)
from teahouse.sales.reconciliation import Audit, DifferenceKind

Id = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", description="32 hex characters")]
Price = Annotated[int, Meta(ge=0, le=MAX_PRICE, description="fen")]
Units = Annotated[int, Meta(ge=1, le=MAX_STOCK)]
Moment = Annotated[
    datetime,
    Meta(
        tz=True,
        description="RFC 3339 with a time zone, between 2000 and 2200",
        extra_json_schema={"pattern": "^2[01][0-9]{2}-"},
    ),
]
# Not every database keeps a null character in a text.
Text = Annotated[str, Meta(pattern=r"^[^\x00]*$", max_length=10_000)]
Title = Annotated[str, Meta(pattern=r"^[^\x00]*[^\s\x00][^\x00]*$", max_length=200)]
_SIGNS = r"A-Za-z0-9._~!$&'()*+,;=:@%?#-"
# A web address, or a path on this server and no "//host"; "$" alone would let a line break follow.
_IMAGE = rf"^(https?://[A-Za-z0-9.-]{{1,253}}(:[0-9]{{1,5}})?/[/{_SIGNS}]*|/([{_SIGNS}][/{_SIGNS}]*)?)$(?!\n)"
Image = Annotated[str, Meta(pattern=_IMAGE, max_length=2048)]

_EARLIEST_YEAR, _LATEST_YEAR = 2000, 2200


class ProductBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A product in full: what is left out is empty."""

    name: Title
    price: Price
    description: Text = ""
    images: Annotated[list[Image], Meta(max_length=20)] = []


class SaleBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The terms of a flash sale; the limit and the time to pay are the shop's own where they are left out."""

    product_id: Id
    stock: Units
    price: Price
    starts_at: Moment
    ends_at: Moment
    per_buyer_limit: Units | None = None
    pay_within_seconds: Annotated[int, Meta(ge=1, le=MAX_PAY_WITHIN_SECONDS)] | None = None


class StockBody(msgspec.Struct, forbid_unknown_fields=True):
    """The stock as a whole, with what is reserved and sold."""

    stock: Units


class PurchaseBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a buyer asks for."""

    quantity: Units


class SandboxPaymentBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A payment as the sandbox plays it: by default of the right amount, and one per order."""

    order_id: Id
    transaction_id: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")] | None = None
    amount: Annotated[int, Meta(ge=0, le=2**63 - 1, description="fen")] | None = None


class ProductView(msgspec.Struct, rename="camel"):
    """A product; the price is in fen."""

    id: str
    name: str
    description: str
    images: tuple[str, ...]
    price: int


class SaleView(msgspec.Struct, rename="camel"):
    """A sale; ``remaining`` may lag by a second."""

    id: str
    product_id: str
    stock: int
    price: int
    starts_at: datetime
    ends_at: datetime
    per_buyer_limit: int
    pay_within_seconds: int
    remaining: int
    status: SaleStatus
    server_time: datetime


class ReservedView(msgspec.Struct, rename="camel"):
    """The answer to a purchase, the same each time it is asked again."""

    order_id: str
    sale_id: str
    quantity: int
    amount: int
    status: OrderStatus
    pay_before: datetime


class OrderView(msgspec.Struct, rename="camel"):
    """An order as it is now; ``changedAt`` is when it took its status. ``orderId`` is its ``id``, as in the 202."""

    id: str
    order_id: str
    sale_id: str
    quantity: int
    amount: int
    status: OrderStatus
    pay_before: datetime
    created_at: datetime
    changed_at: datetime


class PaymentView(msgspec.Struct, rename="camel"):
    """Money that arrived: it settled the order, or has to go back, and ``reason`` says why."""

    transaction_id: str
    order_id: str
    amount: int
    state: PaymentState
    reason: str


class ProductList(msgspec.Struct, rename="camel"):
    """One page; ``nextCursor`` is null on the last."""

    items: list[ProductView]
    next_cursor: str | None


class SaleList(msgspec.Struct, rename="camel"):
    """One page; ``nextCursor`` is null on the last."""

    items: list[SaleView]
    next_cursor: str | None


class OrderList(msgspec.Struct, rename="camel"):
    """One page; ``nextCursor`` is null on the last."""

    items: list[OrderView]
    next_cursor: str | None


class DifferenceView(msgspec.Struct, rename="camel"):
    """One thing that does not agree."""

    kind: DifferenceKind
    id: str
    units: int
    detail: str


class ReconciliationView(msgspec.Struct, rename="camel"):
    """Where every unit is. ``orders`` is what live and paid orders hold; ``difference`` is 0 when all agree."""

    initial: int
    remaining: int
    reserved: int
    sold: int
    orders: int
    difference: int
    explanations: list[DifferenceView]


def check_years(body: SaleBody) -> None:
    """Moments that no calendar needs are refused before they overflow one."""
    errors = [
        FieldError(pointer, f"must be between {_EARLIEST_YEAR} and {_LATEST_YEAR}")
        for pointer, moment in (("/startsAt", body.starts_at), ("/endsAt", body.ends_at))
        if not _EARLIEST_YEAR <= moment.year < _LATEST_YEAR
    ]
    if errors:
        raise ValidationFailed(errors=errors)


def view_product(product: Product) -> ProductView:
    """A product as people see it."""
    return ProductView(product.id, product.name, product.description, product.images, product.price)


def view_sale(found: OnSale, now: int) -> SaleView:
    """A sale as it is at ``now``, in Unix milliseconds."""
    sale = found.sale
    return SaleView(
        sale.id,
        sale.product_id,
        sale.stock,
        sale.price,
        to_datetime(sale.starts_at),
        to_datetime(sale.ends_at),
        sale.per_buyer_limit,
        sale.pay_within_seconds,
        found.remaining,
        sale.status(now),
        to_datetime(now),
    )


def view_reserved(made: Reservation) -> ReservedView:
    """What the buyer was promised."""
    return ReservedView(made.id, made.sale_id, made.quantity, made.amount, RESERVED, to_datetime(made.pay_before))


def view_order(order: Order) -> OrderView:
    """An order as its buyer sees it."""
    made = order.reservation
    return OrderView(
        made.id,
        made.id,
        made.sale_id,
        made.quantity,
        made.amount,
        order.status,
        to_datetime(made.pay_before),
        to_datetime(made.created_at),
        to_datetime(order.changed_at),
    )


def view_payment(payment: Payment) -> PaymentView:
    """A payment as its buyer sees it."""
    return PaymentView(payment.transaction_id, payment.order_id, payment.amount, payment.state, payment.reason)


def view_audit(audit: Audit) -> ReconciliationView:
    """A sale's books as an admin sees them."""
    tally = audit.tally
    return ReconciliationView(
        tally.initial,
        tally.remaining,
        tally.reserved,
        tally.sold,
        audit.ordered,
        audit.difference,
        [DifferenceView(each.kind, each.id, each.units, each.detail) for each in audit.differences],
    )
